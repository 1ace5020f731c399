"""A complete pipeline, of Google's or of simulated properties, whose servers keep their data and ports in a folder."""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from fetcher.credential_file import credential_problems
from fetcher.settings import FetcherSettings
from fetcher.token_hosts import TokenHosts, parse_hosts
from lab.local_pipeline import NAMES, Services, Setup, prepare, running_services
from lab.processes import Process, previous_or_free_port
from lab.progress import Progress
from lab.run_folder import Endpoints, folder_lock, last_endpoints, save_endpoints
from lab.scenario import RunningSimulator, Scenario, last_day, start_simulator
from lab.servers import ServerChoice, Servers, running_servers
from pipeline.catalog import CatalogError
from pipeline.catalog_file import read_catalog
from pipeline.contracts.topics import BATCHES
from pipeline.settings import Settings, read_settings, settings_problems
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
class SearchConsoleApi:
    """The API to copy from, and the catalog of its properties."""

    root: str
    catalog: Path


@dataclass(frozen=True)
class Plan:
    """The pipeline to run."""

    source: SearchConsoleApi | Scenario
    """A scenario is simulated; the catalog of its properties is written to the folder."""
    folder: Path
    """Where data, logs and endpoints are kept."""
    choice: ServerChoice
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of every service, as environment variables, without servers, catalog and ports."""
    scratch: Path | None = None
    """A temporary folder of this process, which is removed even if this process is killed."""

    def setup(self, servers: Servers, api: SearchConsoleApi) -> Setup:
        """Return the setup of this pipeline on the servers."""
        return Setup(servers, api.root, api.catalog, self.folder, extra=self.settings, scratch=self.scratch)


@dataclass(frozen=True)
class Embedded:
    """A pipeline that runs."""

    setup: Setup
    services: Services
    endpoints: Endpoints
    simulator: RunningSimulator | None
    """None: the API is Google's."""

    @property
    def restartable(self) -> Sequence[Process]:
        """The processes that the others survive: the services and the simulator."""
        simulator = (self.simulator.process,) if self.simulator else ()
        return (*self.services.processes.values(), *simulator)

    def ended_servers(self) -> list[str]:
        """Return a message for each server that has ended, without which no service works."""
        return [f"{process.end}: {process.tail()}" for process in self.setup.servers.processes if not process.running]


def find_problems(plan: Plan) -> list[str]:
    """Return a line for each mistake that would keep the services from running; start nothing."""
    api = plan.source if isinstance(plan.source, SearchConsoleApi) else None
    setup = plan.setup(_PLACEHOLDERS, api or SearchConsoleApi("http://127.0.0.1:1", plan.folder / "catalog.yaml"))
    problems = [problem for model in _MODELS for problem in settings_problems(model, setup.environment)]
    if api:
        problems += _catalog_problems(api.catalog, setup.environment, check_limits=not problems)
    return list(dict.fromkeys(problems))


def _catalog_problems(path: Path, environment: Mapping[str, str], *, check_limits: bool) -> list[str]:
    try:
        catalog = read_catalog(path)
    except CatalogError as error:
        return list(error.problems)
    problems = credential_problems(catalog.credentials, _token_hosts(environment))
    if check_limits and not problems:
        problems += read_settings(FetcherSettings, environment).limits(catalog).unserved(BATCHES.partitions)
    return problems


def _token_hosts(environment: Mapping[str, str]) -> TokenHosts:
    try:
        return TokenHosts(parse_hosts(environment.get("GSC_TOKEN_HOSTS", "")))
    except ValueError:  # reported as a problem of the settings
        return TokenHosts()


@contextmanager
def running_embedded(plan: Plan, progress: Progress) -> Iterator[Embedded]:
    """Run servers and services for the length of the block, in which every service is ready.

    Raises LabError or PipelineError when the pipeline cannot be started, OSError for the folder, and httpx.HTTPError.
    """
    with folder_lock(plan.folder):
        ports = _ports(plan.folder)
        with (
            running_servers(replace(plan.choice, ports=ports), progress) as servers,
            _running_api(plan, ports["simulator"]) as (api, simulator),
        ):
            setup = plan.setup(servers, api)
            asyncio.run(prepare(setup))
            progress("starting producer, fetcher and sink")
            with running_services(setup, ports) as services:
                endpoints = _endpoints(setup, ports)
                for name, process in services.processes.items():
                    process.await_ready(lambda url=endpoints.http[name]: is_ready(url), READY_S)  # type: ignore[misc]
                save_endpoints(plan.folder, endpoints)
                yield Embedded(setup, services, endpoints, simulator)


def _ports(folder: Path) -> dict[str, int]:
    previous = last_endpoints(folder)
    known = previous.ports if previous else {}
    return {name: previous_or_free_port(known.get(name)) for name in ("kafka", "postgres", "simulator", *NAMES)}


@contextmanager
def _running_api(plan: Plan, port: int) -> Iterator[tuple[SearchConsoleApi, RunningSimulator | None]]:
    """Start the simulator for a scenario; stop it at the end of the block."""
    if isinstance(plan.source, SearchConsoleApi):
        yield plan.source, None
        return
    simulator = start_simulator(plan.source.simulator(last_day()), plan.folder, listening=("--port", str(port)))
    try:
        yield SearchConsoleApi(simulator.root, simulator.catalog), simulator
    finally:
        simulator.process.stop()


def _endpoints(setup: Setup, ports: dict[str, int]) -> Endpoints:
    environment = setup.environment
    bind_host = environment["GSC_HTTP_HOST"]
    host = "127.0.0.1" if bind_host in {"0.0.0.0", "::"} else bind_host  # noqa: S104 - compared, not bound
    exported = {name: environment[name] for name in _EXPORTED if name in environment}
    return Endpoints(os.getpid(), exported, {name: f"http://{host}:{ports[name]}" for name in NAMES}, ports)


def is_ready(url: str) -> bool:
    """Return whether the service at a base URL answers that it can work."""
    try:
        return httpx.get(f"{url}/ready", timeout=5).is_success
    except httpx.TransportError:
        return False
