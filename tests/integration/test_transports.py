"""The plain transport and the HTTP batch, both against the simulator."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import date, timedelta
from typing import Any

import msgspec
import pytest

from fetcher.chunks import FetchedPage
from fetcher.error_policy import Dead, DeadAndHalt, Park, Refresh, Retry, Wait
from fetcher.http_batch import BatchTransport
from fetcher.search_console import SearchConsole
from lab.search_console.server import Simulator
from lab.search_console.settings import Fault, FaultKind, SimulatorSettings, Site, User
from pipeline.clock import now, pacific_date
from pipeline.contracts.messages import Batch
from support.examples import a_batch
from support.simulator import serving
from support.wait import until

SITE = "https://www.example.com/ü/"
DAYS = [pacific_date(now()) - timedelta(days=10 + number) for number in range(6)]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    site = Site(url=SITE, users=("reader",), rows=40, full_days=(DAYS[1],))
    settings = SimulatorSettings(sites=(site,), users=(User(id="reader"),), require_auth=False)
    with serving(settings) as running:
        yield running


@pytest.fixture
async def console(simulator: Simulator) -> AsyncIterator[SearchConsole]:
    async with SearchConsole(simulator.root, timeout_s=20, connections=10) as opened:
        yield opened


def batch_of(day: date, **changes: Any) -> Batch:
    wanted = ("date", "query", "page", "country", "device")
    return msgspec.structs.replace(a_batch(property=SITE, dimensions=wanted), date=day, **changes)


async def free() -> None:
    """A place in memory is always there."""


async def fetched(door: SearchConsole | BatchTransport, batches: list[Batch]) -> list[Any]:
    return await asyncio.gather(*(door.query(batch, "token", free) for batch in batches))


async def test_both_transports_fetch_the_same_rows(simulator: Simulator, console: SearchConsole) -> None:
    batches = [batch_of(day) for day in DAYS] + [batch_of(DAYS[1], start_row=25_000)]
    plain = await fetched(console, batches)
    assert all(isinstance(page, FetchedPage) for page in plain)
    assert sum(page.rows for page in plain) > 25_000
    assert await fetched(BatchTransport(console, size=len(batches), linger_s=60), batches) == plain
    assert [call.in_batch for call in simulator.engine.calls] == [False] * 7 + [True] * 7


async def test_each_part_has_its_own_fate(simulator: Simulator, console: SearchConsole) -> None:
    kinds: list[Any] = ["500", "quotaExceeded", "loadQuota", "400", "401"]
    faults = [Fault(kind=kind, day=day, retry_after=9) for kind, day in zip(kinds, DAYS, strict=False)]
    simulator.engine.faults.replace(tuple(faults))
    found = await fetched(BatchTransport(console, size=6, linger_s=60), [batch_of(day) for day in DAYS])
    assert [type(answer) for answer in found] == [Retry, Wait, Park, Dead, Refresh, FetchedPage]
    assert [answer.retry_after for answer in found[:2]] == [9, 9]


@pytest.mark.parametrize("kind", ["truncated", "truncated_gzip", "content_type", "invalid_json", "wrong_shape"])
async def test_a_part_that_is_spoiled_spoils_no_other(
    simulator: Simulator, console: SearchConsole, kind: FaultKind
) -> None:
    simulator.engine.faults.replace((Fault(kind=kind, day=DAYS[0]),))
    batches = [batch_of(day) for day in DAYS]
    found = await fetched(BatchTransport(console, size=6, linger_s=60), batches)
    assert [type(answer) for answer in found] == [Retry] + [FetchedPage] * 5
    assert [type(answer) for answer in await fetched(console, batches)] == [Retry] + [FetchedPage] * 5
    assert [call.fault for call in simulator.engine.calls] == ([kind] + [""] * 5) * 2


async def test_a_reset_takes_the_whole_batch_along(simulator: Simulator, console: SearchConsole) -> None:
    simulator.engine.faults.replace((Fault(kind="reset", day=DAYS[2], count=1),))
    batches = [batch_of(day) for day in DAYS]
    found = await fetched(BatchTransport(console, size=6, linger_s=60), batches)
    assert all(isinstance(answer, Retry) and "transport" in answer.reason for answer in found)
    again = await fetched(BatchTransport(console, size=6, linger_s=60), batches)
    assert all(isinstance(answer, FetchedPage) for answer in again)


async def test_a_part_that_stalls_holds_the_whole_batch_up(simulator: Simulator) -> None:
    simulator.engine.faults.replace((Fault(kind="stall", day=DAYS[2], seconds=60.0),))
    async with SearchConsole(simulator.root, timeout_s=1, connections=1) as impatient:
        found = await fetched(BatchTransport(impatient, size=3, linger_s=60), [batch_of(day) for day in DAYS[2:5]])
    assert all(isinstance(answer, Retry) and "timeout" in answer.reason for answer in found)

    def only_it_is_under_way() -> bool:
        return [call.day for call in simulator.engine.calls if call.finished is None] == [DAYS[2]]

    await until(only_it_is_under_way, 20, "the other parts have their answers")


async def test_a_quota_that_runs_out_in_the_middle_refuses_the_rest(
    simulator: Simulator, console: SearchConsole
) -> None:
    quotas = msgspec.structs.replace(simulator.engine.settings.quotas, site_qpm=4)
    simulator.engine.settings = msgspec.structs.replace(simulator.engine.settings, quotas=quotas)
    found = await fetched(BatchTransport(console, size=6, linger_s=60), [batch_of(day) for day in DAYS])
    assert sorted(type(answer).__name__ for answer in found) == ["FetchedPage"] * 4 + ["Wait"] * 2


async def test_a_property_without_permission_and_a_dead_server(simulator: Simulator, console: SearchConsole) -> None:
    other = batch_of(DAYS[0], property="sc-domain:not-ours.com")
    found = await fetched(BatchTransport(console, size=2, linger_s=60), [other, batch_of(DAYS[0])])
    assert [type(answer) for answer in found] == [DeadAndHalt, FetchedPage]
    async with SearchConsole("http://127.0.0.1:1", timeout_s=5, connections=1) as nobody:
        found = await fetched(BatchTransport(nobody, size=2, linger_s=60), [batch_of(DAYS[0]), batch_of(DAYS[1])])
    assert [type(answer) for answer in found] == [Retry, Retry]
