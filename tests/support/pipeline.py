"""The whole pipeline as processes, for end-to-end tests."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec

from lab.call_log import repeats
from lab.driver import Driver, all_finished
from lab.local_pipeline import NAMES, Services, Setup, prepare
from lab.scenario import REPORTS, Scenario, last_day, start_simulator
from lab.search_console.settings import Fault, SimulatorSettings
from lab.servers import Servers
from pipeline.postgres import connection
from support.wait import until

COMMAND = Path(sys.executable).with_name("gsc-stream")
LAST_DAY = last_day()
FINISHED_S = 120.0
SITES = ("sc-domain:shop-1.example", "https://www.shop-2.example/")
"""The properties of a scenario of two."""


class Running(Driver):
    """A pipeline that runs, and how to wait for it."""

    async def applied(self, run: str, at_least: int) -> None:
        """Wait until at least this number of pages is applied."""

        async def enough() -> bool:
            return (await self.pages(run)).get("applied", 0) >= at_least

        await until(enough, FINISHED_S, f"{at_least} pages applied")

    async def port(self, name: str) -> int:
        """Wait until a service is ready; return its HTTP port."""

        def ready_ports() -> list[int]:
            ports = [line["port"] for line in read_log(self.setup.folder, name, "listening")]
            return [port for port in ports if is_ready(port)]

        await until(lambda: bool(ready_ports()), FINISHED_S, f"the {name} is ready")
        return ready_ports()[-1]

    async def ports(self) -> dict[str, int]:
        """Wait until all services are ready; return their HTTP ports."""
        return {name: await self.port(name) for name in NAMES}

    async def finished(self, run: str) -> dict[str, int]:
        """Wait until every page is in its last state; returns the pages by state."""

        async def all_final() -> bool:
            assert not self.services.ended(), self.services.ended()
            return all_finished(await self.pages(run))

        await until(all_final, FINISHED_S, "every page finished")
        return await self.pages(run)


def simulator_settings(scenario: Scenario, *, faults: tuple[Fault, ...] = ()) -> SimulatorSettings:
    settings = scenario.simulator(LAST_DAY)
    return msgspec.structs.replace(settings, faults=faults)


@contextmanager
def running_pipeline(
    servers: Servers,
    dsn: str,
    prefix: str,
    folder: Path,
    world: SimulatorSettings,
    *,
    reports: Sequence[Mapping[str, object]] = REPORTS,
    **extra: str,
) -> Iterator[Running]:
    """Simulator and services with topics and a database of the test's own."""
    google = start_simulator(world, folder, reports)
    setup = Setup(replace(servers, dsn=dsn), google.root, google.catalog, folder, {"GSC_TOPIC_PREFIX": prefix, **extra})
    services = Services(setup)
    try:
        with ThreadPoolExecutor(1) as thread:  # the test may have a loop that runs already
            thread.submit(lambda: asyncio.run(prepare(setup))).result()
        for name in NAMES:
            services.start(name)
        yield Running(setup, google, services, LAST_DAY)
    finally:
        services.stop()
        google.process.stop()


def a_day(number: int) -> date:
    return LAST_DAY - timedelta(days=number)


async def query(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    """The rows of a statement."""
    async with connection(dsn, application="test") as conn:
        return await (await conn.execute(statement.encode())).fetchall()


def read_log(folder: Path, service: str, event: str | None = None) -> list[dict[str, Any]]:
    """Lines of a service's log, of one kind or all."""
    lines = (folder / f"{service}.log").read_text().splitlines()
    return [line for line in map(json.loads, lines) if event in {None, line["event"]}]


def is_ready(port: int) -> bool:
    """Whether a service answers there that it can work."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/ready").is_success
    except httpx.TransportError:
        return False


def repeated(running: Running) -> int:
    """Return how many calls were made more than once."""
    return repeats(running.calls(), float("-inf"), float("inf"))


def run_command(running: Running, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `gsc-stream` with the settings of the pipeline."""
    environment = {**os.environ, **running.setup.environment}
    return subprocess.run(
        [COMMAND, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=240
    )


def run_json(running: Running, *arguments: str, code: int = 0) -> Any:
    """What a command prints as JSON; it must end with that exit code."""
    done = run_command(running, *arguments, "--json")
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout)
