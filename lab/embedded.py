"""A complete pipeline with real credentials, whose servers keep their data and ports in a folder."""

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from fetcher.credential_file import credential_problems
from fetcher.rate_limiter import RateLimiter
from fetcher.settings import FetcherSettings
from fetcher.token_hosts import TokenHosts, parse_hosts
from lab.local_pipeline import NAMES, Services, Setup, prepare, running_services
from lab.processes import previous_or_free_port
from lab.progress import Progress
from lab.run_folder import Endpoints, folder_lock, last_endpoints, save_endpoints
from lab.servers import ServerChoice, Servers, running_servers
from pipeline.catalog import Catalog, CatalogError
from pipeline.catalog_file import read_catalog
from pipeline.contracts.topics import BATCHES
from pipeline.errors import Invalid
from pipeline.settings import Settings, SettingsError, read_settings
from producer.settings import ProducerSettings
from sink.settings import SinkSettings

READY_S = 60.0
_EXPORTED = (
    "GSC_KAFKA_BOOTSTRAP_SERVERS", "GSC_POSTGRES_DSN", "GSC_CATALOG", "GSC_API_ROOT", "GSC_TOKEN_HOSTS",
    "GSC_TOPIC_PREFIX",
)  # fmt: skip
_MODELS: tuple[type[Settings], ...] = (ProducerSettings, FetcherSettings, SinkSettings)
_PLACEHOLDERS = Servers("127.0.0.1:1", "postgresql://127.0.0.1:1/placeholder")
"""Valid addresses, for checking the settings before the servers are started."""


@dataclass(frozen=True)
class Plan:
    """The pipeline to run."""

    catalog: Path
    api_root: str
    folder: Path
    """Where data, logs and endpoints are kept."""
    choice: ServerChoice
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of every service, as environment variables, without servers, catalog and ports."""

    def setup(self, servers: Servers) -> Setup:
        """Return the setup of this pipeline on the servers."""
        return Setup(servers, self.api_root, self.catalog, self.folder, extra=self.settings)


def find_problems(plan: Plan) -> list[str]:
    """Return a line for each mistake that would keep the services from running; start nothing."""
    environment = plan.setup(_PLACEHOLDERS).environment
    problems = [problem for model in _MODELS for problem in _settings_problems(model, environment)]
    try:
        catalog = read_catalog(plan.catalog)
    except CatalogError as error:
        return [*dict.fromkeys(problems), *error.problems]
    problems += credential_problems(catalog.credentials, _token_hosts(environment))
    if not problems:
        problems += _limit_problems(read_settings(FetcherSettings, environment), catalog)
    return list(dict.fromkeys(problems))


def _token_hosts(environment: Mapping[str, str]) -> TokenHosts:
    try:
        return TokenHosts(parse_hosts(environment.get("GSC_TOKEN_HOSTS", "")))
    except ValueError:  # reported as a problem of the settings
        return TokenHosts()


def _settings_problems(model: type[Settings], environment: Mapping[str, str]) -> list[str]:
    try:
        read_settings(model, environment)
    except SettingsError as error:
        return error.problems
    return []


def _limit_problems(settings: FetcherSettings, catalog: Catalog) -> list[str]:
    try:
        RateLimiter(settings.limits(catalog), BATCHES.partitions)
    except Invalid as error:
        return [str(error)]
    return []


@contextmanager
def running_embedded(plan: Plan, progress: Progress) -> Iterator[tuple[Services, Endpoints]]:
    """Run servers and services for the length of the block, in which every service is ready.

    Raises LabError or PipelineError when the pipeline cannot be started, and OSError for the folder.
    """
    with folder_lock(plan.folder):
        previous = last_endpoints(plan.folder)
        previous_ports = previous.ports if previous else {}
        ports = {name: previous_or_free_port(previous_ports.get(name)) for name in ("kafka", "postgres", *NAMES)}
        with running_servers(replace(plan.choice, ports=ports), progress) as servers:
            setup = plan.setup(servers)
            asyncio.run(prepare(setup))
            progress("starting producer, fetcher and sink")
            with running_services(setup, ports) as services:
                endpoints = _endpoints(setup, ports)
                for name, process in services.processes.items():
                    process.await_ready(lambda url=endpoints.http[name]: _is_ready(url), READY_S)  # type: ignore[misc]
                save_endpoints(plan.folder, endpoints)
                yield services, endpoints


def _endpoints(setup: Setup, ports: dict[str, int]) -> Endpoints:
    environment = setup.environment
    bind_host = environment["GSC_HTTP_HOST"]
    host = "127.0.0.1" if bind_host in {"0.0.0.0", "::"} else bind_host  # noqa: S104 - compared, not bound
    exported = {name: environment[name] for name in _EXPORTED if name in environment}
    return Endpoints(os.getpid(), exported, {name: f"http://{host}:{ports[name]}" for name in NAMES}, ports)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready", timeout=5).is_success
    except httpx.TransportError:
        return False
