"""The whole pipeline as processes, for end-to-end tests."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import msgspec

from lab.choosing import Servers
from lab.piloting import Pilot, last_day, settled
from lab.running import Services, Setup, prepare
from lab.scenario import Scenario, start_google
from lab.search_console.settings import Fault, SimulatorSettings
from support.waiting import until

LAST_DAY = last_day()
SETTLED_S = 120.0


class Running(Pilot):
    """A pipeline that runs, and how to wait for it."""

    async def applied(self, run: str, at_least: int) -> None:
        """Wait until so many pages are applied."""

        async def enough() -> bool:
            return (await self.pages(run)).get("applied", 0) >= at_least

        await until(enough, SETTLED_S, f"{at_least} pages applied")

    async def settled(self, run: str) -> dict[str, int]:
        """Wait until every page is in its last state; returns the pages by state."""

        async def all_settled() -> bool:
            assert not self.services.ended(), self.services.ended()
            return settled(await self.pages(run))

        await until(all_settled, SETTLED_S, "every page settled")
        return await self.pages(run)


def a_world(scenario: Scenario, *, faults: tuple[Fault, ...] = ()) -> SimulatorSettings:
    settings = scenario.simulator(LAST_DAY)
    return msgspec.structs.replace(settings, faults=faults)


@contextmanager
def running_pipeline(
    servers: Servers, dsn: str, prefix: str, folder: Path, world: SimulatorSettings, **extra: str
) -> Iterator[Running]:
    """Simulator and services with topics and a database of the test's own."""
    google = start_google(world, folder)
    setup = Setup(replace(servers, dsn=dsn), google.root, google.catalog, folder, {"GSC_TOPIC_PREFIX": prefix, **extra})
    services = Services(setup)
    try:
        with ThreadPoolExecutor(1) as thread:  # the test may have a loop that runs already
            thread.submit(lambda: asyncio.run(prepare(setup))).result()
        for name in ("producer", "fetcher", "sink"):
            services.start(name)
        yield Running(setup, google, services)
    finally:
        services.stop()
        google.process.stop()


def a_day(number: int) -> date:
    return LAST_DAY - timedelta(days=number)
