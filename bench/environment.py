"""The pipeline as a benchmark needs it: servers, simulator, planner and sink; the fetchers are the benchmark's."""

import asyncio
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import msgspec
import psutil

from bench.results import tell
from lab.database import create_database
from lab.days import last_day
from lab.driver import Driver
from lab.local_pipeline import Services, Setup, prepare
from lab.processes import Process, free_port
from lab.scenario import REPORTS, RunningSimulator, Scenario, start_simulator
from lab.search_console.settings import Quotas
from lab.servers import ServerChoice, Servers, running_servers
from lab.services import start_service


@dataclass(frozen=True)
class World:
    """Servers and a simulator that several pipelines can share, one after the other."""

    servers: Servers
    google: RunningSimulator
    folder: Path


@contextmanager
def running_world(
    scenario: Scenario, quotas: Quotas | None = None, search_types: Sequence[str] = ("web",)
) -> Iterator[World]:
    """Start them, for the length of a block."""
    with tempfile.TemporaryDirectory(prefix="gsc-bench-", ignore_cleanup_errors=True) as scratch:
        folder = Path(os.environ.get("GSC_BENCH_LOGS", scratch))  # noqa: TID251 - to keep the services' logs
        with running_servers(ServerChoice(), tell) as servers:
            settings = msgspec.structs.replace(
                scenario.simulator(last_day()), quotas=quotas or Quotas(), token_lifetime_s=3600
            )
            reports = [{**report, "search_types": [*search_types]} for report in REPORTS]
            google = start_simulator(settings, folder, reports)
            try:
                yield World(servers, google, folder)
            finally:
                google.process.stop()


@contextmanager
def running_driver(world: World, name: str, **extra: str) -> Iterator[Driver]:
    """A planner and a sink with topics and a database of their own, for the length of a block."""
    folder = world.folder / name
    folder.mkdir(exist_ok=True)
    servers = replace(world.servers, dsn=create_database(world.servers.dsn, f"bench_{name}"))
    settings = {"GSC_TOPIC_PREFIX": f"bench-{name}", **extra}
    setup = Setup(servers, world.google.root, world.google.catalog, folder, settings)
    services = Services(setup)
    asyncio.run(prepare(setup))
    try:
        services.start("producer")
        services.start("sink")
        yield Driver(setup, world.google, services)
    finally:
        services.stop()


@dataclass(frozen=True)
class Fetcher:
    """One of several."""

    process: Process
    port: int

    def gauge(self, name: str) -> float:
        """A metric without labels, of this moment."""
        text = httpx.get(f"http://127.0.0.1:{self.port}/metrics").text
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        return float(found.group(1)) if found else 0.0


def start_fetcher(pilot: Driver, name: str, **extra: str) -> Fetcher:
    """Start one more fetcher, with logs of its own."""
    port = free_port()
    folder = pilot.setup.folder / name
    folder.mkdir(exist_ok=True)
    environment = {**pilot.setup.environment, "GSC_HTTP_PORT": str(port), **extra}
    process = start_service("fetcher", environment, folder)
    pilot.services.processes[name] = process
    return Fetcher(process, port)


def rss_mb(process: Process) -> float:
    """Resident memory of a service."""
    return float(psutil.Process(process.pid).memory_info().rss) / 2**20
