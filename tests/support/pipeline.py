"""The whole pipeline as processes, for end-to-end tests."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec

from lab.choosing import Servers
from lab.comparing import Difference, differences
from lab.running import Services, Setup, prepare
from lab.scenario import Scenario, SimulatedGoogle, start_google
from lab.search_console.settings import Fault, SimulatorSettings
from pipeline.catalog import read_catalog
from pipeline.clock import now, pacific_date
from pipeline.contracts import codec
from pipeline.contracts.identity import run_id
from pipeline.contracts.topics import SYNC_REQUESTS
from pipeline.kafka import Publisher
from pipeline.postgres import connection
from producer import ledger
from producer.admission import build_request
from support.waiting import until

LAST_DAY = pacific_date(now()) - timedelta(days=4)
SETTLED_S = 120.0


@dataclass
class Running:
    """A pipeline that runs, and how to look at it."""

    setup: Setup
    google: SimulatedGoogle
    services: Services

    async def ask(self, days: int) -> str:
        """Ask for the last days of every property; returns the run's id."""
        first = LAST_DAY - timedelta(days=days - 1)
        fields = {"start": first.isoformat(), "end": LAST_DAY.isoformat(), "all": True}
        request = build_request(fields, now=now(), requested_by="test")
        publisher = Publisher(self.setup.kafka, "test")
        topic = SYNC_REQUESTS.full_name(self.setup.prefix)
        await publisher.publish(topic, request.request_id, codec.encode(request))
        await publisher.close()
        return run_id(request.request_id)

    async def pages(self, run: str) -> dict[str, int]:
        """Pages of the run by state."""
        async with connection(self.setup.servers.dsn, application="test") as conn:
            found = await ledger.progress(conn, run)
        return found["pages"] if found else {}  # type: ignore[return-value]

    async def applied(self, run: str, at_least: int) -> None:
        """Wait until so many pages are applied."""

        async def enough() -> bool:
            return (await self.pages(run)).get("applied", 0) >= at_least

        await until(enough, SETTLED_S, f"{at_least} pages applied")

    async def settled(self, run: str) -> dict[str, int]:
        """Wait until every page is in its last state; returns the pages by state."""

        async def all_settled() -> bool:
            assert not self.services.ended(), self.services.ended()
            pages = await self.pages(run)
            return bool(pages) and not {"owed", "published"} & pages.keys()

        await until(all_settled, SETTLED_S, "every page settled")
        return await self.pages(run)

    async def differences(self, days: int) -> list[Difference]:
        """Table against truth."""
        wanted = [LAST_DAY - timedelta(days=number) for number in range(days)]
        async with connection(self.setup.servers.dsn, application="test") as conn:
            return await differences(conn, self.google.root, read_catalog(self.setup.catalog), wanted)

    def calls(self) -> list[dict[str, Any]]:
        """The simulator's log."""
        lines = httpx.get(f"{self.google.root}/_sim/log").text.splitlines()
        return [json.loads(line) for line in lines]

    def post(self, path: str, body: object) -> None:
        """Steer the simulator."""
        httpx.post(f"{self.google.root}/_sim/{path}", json=body).raise_for_status()


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
        asyncio.run(prepare(setup))
        for name in ("producer", "fetcher", "sink"):
            services.start(name)
        yield Running(setup, google, services)
    finally:
        services.stop()
        google.process.stop()


def a_day(number: int) -> date:
    return LAST_DAY - timedelta(days=number)
