"""What every benchmark runs on: servers, simulator, producer and sink. Each benchmark starts its own fetchers."""

import asyncio
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import msgspec
import psutil

from bench.results import log_progress
from lab.database import create_database
from lab.driver import Driver, all_finished
from lab.local_pipeline import Services, Setup, prepare, start_service
from lab.processes import Process, free_port
from lab.scenario import REPORTS, RunningSimulator, Scenario, last_day, start_simulator
from lab.search_console.settings import Quotas
from lab.servers import ServerChoice, Servers, running_servers

NO_QUOTAS = Quotas(site_qpm=None, user_qpm=None, project_qpm=None)


def reports_of(*search_types: str) -> list[dict[str, object]]:
    """Return the scenario's reports with these search types."""
    return [{**report, "search_types": [*search_types]} for report in REPORTS]


@dataclass(frozen=True)
class Environment:
    """Servers and a simulator, which several pipelines can use one after the other."""

    servers: Servers
    simulator: RunningSimulator
    folder: Path
    """Where the pipelines write their logs."""


@contextmanager
def running_environment(
    scenario: Scenario,
    quotas: Quotas | None = None,
    reports: Sequence[Mapping[str, object]] = reports_of("web"),
    kafka: str | None = None,
) -> Iterator[Environment]:
    """Run servers and simulator for the length of the block. `kafka`: one that runs already, HOST:PORT.

    The variable GSC_BENCH_LOGS names a folder that keeps the logs. Raises LabError.
    """
    with tempfile.TemporaryDirectory(prefix="gsc-bench-", ignore_cleanup_errors=True) as scratch:
        folder = Path(os.environ.get("GSC_BENCH_LOGS", scratch))  # noqa: TID251 - not a setting of the pipeline
        with running_servers(ServerChoice(kafka=kafka), log_progress) as servers:
            settings = msgspec.structs.replace(
                scenario.simulator(last_day()), quotas=quotas or Quotas(), token_lifetime_s=3600
            )
            simulator = start_simulator(settings, folder, reports)
            try:
                yield Environment(servers, simulator, folder)
            finally:
                simulator.process.stop()


@contextmanager
def running_pipeline(environment: Environment, name: str, **extra: str) -> Iterator[Driver]:
    """Run a producer and a sink, with their own topics and database, for the length of the block.

    `extra`: settings of every service.
    """
    folder = environment.folder / name
    folder.mkdir(exist_ok=True)
    servers = replace(environment.servers, dsn=create_database(environment.servers.dsn, f"bench_{name}"))
    settings = {"GSC_TOPIC_PREFIX": f"bench-{name}", **extra}
    setup = Setup(servers, environment.simulator.root, environment.simulator.catalog, folder, settings)
    services = Services(setup)
    asyncio.run(prepare(setup))
    try:
        services.start("producer")
        services.start("sink")
        yield Driver(setup, environment.simulator, services)
    finally:
        services.stop()


@dataclass(frozen=True)
class Fetcher:
    """A running fetcher, and the port of its metrics."""

    process: Process
    port: int

    def gauge(self, name: str) -> float:
        """Return the current value of a gauge without labels; 0 when it is missing."""
        return gauge_at(self.port, name)


def gauge_at(port: int, name: str) -> float:
    """Return the current value of a gauge without labels; 0 when it is missing or nothing listens on the port."""
    try:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    except httpx.TransportError:
        return 0.0
    match = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(match.group(1)) if match else 0.0


def start_fetcher(driver: Driver, name: str, **extra: str) -> Fetcher:
    """Start another fetcher, which logs to the folder `name`; `extra` are settings of this fetcher."""
    port = free_port()
    folder = driver.setup.folder / name
    folder.mkdir(exist_ok=True)
    settings = {**driver.setup.environment, "GSC_HTTP_PORT": str(port), **extra}
    process = start_service("fetcher", settings, folder)
    driver.services.processes[name] = process
    return Fetcher(process, port)


def rss_mb(process: Process) -> float:
    """Return the resident memory of a process in MB. Raises psutil.NoSuchProcess."""
    return float(psutil.Process(process.pid).memory_info().rss) / 2**20


async def wait_until_finished(driver: Driver, run: str) -> dict[str, int]:
    """Wait until every page of a run is finished; return the number of pages by state."""
    log_progress("waiting until every page is finished")
    while not all_finished(pages := await driver.pages(run)):
        await asyncio.sleep(1.0)
    return pages


async def count_lost(driver: Driver, pages: dict[str, int], days: int) -> int:
    """Return the number of pages that are not applied, plus that of the days that differ from the simulator."""
    unapplied = sum(count for state, count in pages.items() if state != "applied")
    return unapplied + len(await driver.differences(days))
