"""A whole pipeline with real credentials, on servers whose data and ports stay in a folder."""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from fetcher.credentials import AccessTokens
from fetcher.rate_limiter import RateLimiter
from fetcher.settings import FetcherSettings
from lab.kafka_jars import Progress
from lab.local_pipeline import Services, Setup, prepare, running_services
from lab.processes import port_again
from lab.run_folder import Endpoints, last_endpoints, locked, save_endpoints
from lab.servers import ServerChoice, Servers, running_servers
from lab.services import NAMES
from pipeline.catalog import Catalog, CatalogError
from pipeline.catalog_file import read_catalog
from pipeline.contracts.topics import BATCHES
from pipeline.errors import Invalid
from pipeline.settings import Settings, SettingsError, read_settings
from producer.settings import ProducerSettings
from sink.settings import SinkSettings

READY_S = 60.0
_TOLD = ("GSC_KAFKA_BOOTSTRAP_SERVERS", "GSC_POSTGRES_DSN", "GSC_CATALOG", "GSC_API_ROOT", "GSC_TOPIC_PREFIX")
_MODELS: tuple[type[Settings], ...] = (ProducerSettings, FetcherSettings, SinkSettings)
_TO_COME = Servers("127.0.0.1:1", "postgresql://127.0.0.1:1/to-come")


@dataclass(frozen=True)
class Plan:
    """What is to run."""

    catalog: Path
    api_root: str
    folder: Path
    """Data, logs, and how the pipeline is reached."""
    choice: ServerChoice
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of every service, besides servers, catalog and ports."""

    def setup(self, servers: Servers) -> Setup:
        """The same, with its servers."""
        return Setup(servers, self.api_root, self.catalog, self.folder, extra=self.settings)


def problems_of(plan: Plan) -> list[str]:
    """What would keep the services from running, a line each, found before anything is started."""
    environment = plan.setup(_TO_COME).environment
    problems = [problem for model in _MODELS for problem in _wrong_settings(model, environment)]
    try:
        catalog = read_catalog(plan.catalog)
    except CatalogError as error:
        return [*dict.fromkeys(problems), *error.problems]
    problems += _wrong_credentials(catalog)
    if not problems:
        problems += _wrong_limits(read_settings(FetcherSettings, environment), catalog)
    return list(dict.fromkeys(problems))


def _wrong_settings(model: type[Settings], environment: Mapping[str, str]) -> list[str]:
    try:
        read_settings(model, environment)
    except SettingsError as error:
        return error.problems
    return []


def _wrong_credentials(catalog: Catalog) -> Sequence[str]:
    """The files are read as a fetcher does."""
    try:
        AccessTokens(catalog.credentials).close()
    except CatalogError as error:
        return error.problems
    return ()


def _wrong_limits(settings: FetcherSettings, catalog: Catalog) -> list[str]:
    try:
        RateLimiter(settings.limits(catalog), BATCHES.partitions)
    except Invalid as error:
        return [str(error)]
    return []


@contextmanager
def running_embedded(plan: Plan, progress: Progress) -> Iterator[tuple[Services, Endpoints]]:
    """All of it, for the length of a block, in which it is ready. Raises LabError, or a flow of `pipeline.errors`."""
    with locked(plan.folder):
        before = last_endpoints(plan.folder)
        known = before.ports if before else {}
        ports = {name: port_again(known.get(name)) for name in ("kafka", "postgres", *NAMES)}
        with running_servers(replace(plan.choice, ports=ports), progress) as servers:
            setup = plan.setup(servers)
            asyncio.run(prepare(setup))
            progress("starting producer, fetcher and sink")
            with running_services(setup, ports) as services:
                reach = _reach(setup, ports)
                for name, process in services.processes.items():
                    process.await_ready(lambda url=reach.http[name]: _is_ready(url), READY_S)  # type: ignore[misc]
                save_endpoints(plan.folder, reach)
                yield services, reach


def _reach(setup: Setup, ports: dict[str, int]) -> Endpoints:
    environment = setup.environment
    host = environment["GSC_HTTP_HOST"]
    here = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104 - compared, not bound
    told = {name: environment[name] for name in _TOLD if name in environment}
    return Endpoints(os.getpid(), told, {name: f"http://{here}:{ports[name]}" for name in NAMES}, ports)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready", timeout=5).is_success
    except httpx.TransportError:
        return False
