"""A fetcher with the real client, against a simulator whose responses stop within their bodies."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from fetcher.rate_limiter import RateLimiter
from fetcher.search_console import SearchConsole
from fetcher.service import Fetcher
from lab.search_console.server import Simulator
from lab.search_console.settings import Fault, FaultKind, Quotas, SimulatorSettings, Site, User
from pipeline.catalog import Catalog, Credential, Property
from pipeline.clock import monotonic, now
from pipeline.contracts import codec
from pipeline.contracts.messages import Rows
from pipeline.contracts.records import Record
from pipeline.errors import Invalid
from pipeline.offsets import AssignedPartition
from pipeline.pacific import pacific_date
from support.examples import a_batch
from support.fetcher import CAPACITY, UNLIMITED, World, dead_letter_limits, run_during
from support.simulator import serving
from support.wait import until

HANGING = [f"sc-domain:hanging-{number}.com" for number in range(4)]
HEALTHY = "sc-domain:healthy.com"
CREDENTIALS = {**dict.fromkeys(HANGING, "hanging"), HEALTHY: "healthy"}
CATALOG = Catalog(
    credentials=tuple(Credential(id=name, type="service_account", file=Path(name)) for name in ("hanging", "healthy")),
    properties=tuple(Property(url=url, credential=name) for url, name in CREDENTIALS.items()),
)
PAGES = 100
FIRST_DAY = pacific_date(now()) - timedelta(days=400)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    sites = tuple(Site(url=url, users=("reader",), rows=20) for url in CREDENTIALS)
    settings = SimulatorSettings(
        sites=sites, users=(User(id="reader"),), require_auth=False, quotas=Quotas(site_qpm=None, user_qpm=None)
    )
    with serving(settings) as running:
        yield running


class Batches:
    """The partition of batches that the fetcher reads."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._offset = 0

    async def send(self, urls: list[str]) -> None:
        """Let the fetcher receive a page of each of these properties, each for another day."""
        records = []
        for url in urls:
            day = FIRST_DAY + timedelta(days=self._offset)
            batch = a_batch(property=url, credential=CREDENTIALS[url], date=day)
            records.append(Record("gsc.batches", 0, self._offset, b"", codec.encode(batch), 0))
            self._offset += 1
        await self._fetcher.receive(records)


def fetched(world: World) -> list[str]:
    """The properties of the pages whose rows were published."""
    urls = []
    for value in world.results():
        try:
            urls.append(codec.decode(Rows, value).batch.property)
        except Invalid:  # another kind of result
            continue
    return urls


@pytest.mark.parametrize("kind", ["stall_body", "trickle"])
async def test_a_credential_whose_bodies_all_hang_takes_no_speed_from_another(
    simulator: Simulator, kind: FaultKind
) -> None:
    world, capacity = World(), replace(CAPACITY, max_in_flight=4)

    async def seconds_of_healthy_pages() -> float:
        started, before = monotonic(), len(fetched(world))
        await batches.send([HEALTHY] * PAGES)
        await until(lambda: len(fetched(world)) == before + PAGES, 60, "the pages of the healthy credential")
        return monotonic() - started

    async def scene() -> None:
        usual = await seconds_of_healthy_pages()
        simulator.engine.faults.replace(tuple(Fault(kind=kind, site=url, seconds=120.0) for url in HANGING))
        await batches.send(HANGING * 10)
        calls = capacity.max_concurrency
        await until(lambda: sum(call.fault == kind for call in simulator.engine.calls) == calls, 20, "all calls hang")
        assert await seconds_of_healthy_pages() < 2 * usual + 3  # a hanging body takes 120
        assert set(fetched(world)) == {HEALTHY}

    async with SearchConsole(simulator.root, timeout_s=100, connections=None) as console:
        ports = replace(world.ports(), api=console)
        fetcher = Fetcher(CATALOG, capacity, RateLimiter(UNLIMITED, 1), ports, dead_letter_limits(5))
        await fetcher.assigned([AssignedPartition(0, 0, "")])
        batches = Batches(fetcher)
        await run_during(fetcher, scene)
        fetcher.lost([0])
