"""The plain transport and the batch transport, both against the simulator."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import date, timedelta
from typing import Any

import msgspec
import pytest

from fetcher.capacity import PageMemory
from fetcher.http_batch import BatchTransport
from fetcher.outcome import Dead, Deferred, Done, Retry
from fetcher.search_console import SearchConsole
from lab.search_console.server import Simulator
from lab.search_console.settings import Fault, FaultKind, SimulatorSettings, Site, User
from pipeline.clock import now
from pipeline.contracts.messages import Batch
from pipeline.errors import Retryable
from pipeline.pacific import pacific_date
from support.examples import a_batch
from support.fetcher import a_permit
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
    dimensions = ("date", "query", "page", "country", "device")
    return msgspec.structs.replace(a_batch(property=SITE, dimensions=dimensions), date=day, **changes)


async def fetch(transport: SearchConsole | BatchTransport, batches: list[Batch]) -> list[Any]:
    return await asyncio.gather(*(transport.query(batch, "token", a_permit()) for batch in batches))


async def test_both_transports_fetch_the_same_rows(simulator: Simulator, console: SearchConsole) -> None:
    batches = [batch_of(day) for day in DAYS] + [batch_of(DAYS[1], start_row=25_000)]
    plain = await fetch(console, batches)
    assert all(isinstance(outcome, Done) for outcome in plain)
    assert sum(outcome.page.rows for outcome in plain) > 25_000
    assert await fetch(BatchTransport(console, size=len(batches), linger_s=60), batches) == plain
    assert [call.in_batch for call in simulator.engine.calls] == [False] * 7 + [True] * 7


async def test_each_part_has_its_own_outcome(simulator: Simulator, console: SearchConsole) -> None:
    kinds: list[Any] = ["500", "quotaExceeded", "loadQuota", "400", "401"]
    faults = [Fault(kind=kind, day=day, retry_after=9) for kind, day in zip(kinds, DAYS, strict=False)]
    simulator.engine.faults.replace(tuple(faults))
    outcomes = await fetch(BatchTransport(console, size=6, linger_s=60), [batch_of(day) for day in DAYS])
    assert [type(outcome) for outcome in outcomes] == [Retry, Retry, Deferred, Dead, Retry, Done]
    assert [(item.after_s, item.throttled) for item in outcomes[:2]] == [(9, None), (9, "property")]
    assert [item.refresh_token for item in outcomes if isinstance(item, Retry)] == [False, False, True]
    assert outcomes[2].halt.cause == "budget"


@pytest.mark.parametrize("kind", ["truncated", "truncated_gzip", "content_type", "invalid_json", "wrong_shape"])
async def test_a_damaged_part_damages_no_other(simulator: Simulator, console: SearchConsole, kind: FaultKind) -> None:
    simulator.engine.faults.replace((Fault(kind=kind, day=DAYS[0]),))
    batches = [batch_of(day) for day in DAYS]
    outcomes = await fetch(BatchTransport(console, size=6, linger_s=60), batches)
    assert [type(outcome) for outcome in outcomes] == [Retry] + [Done] * 5
    assert [type(outcome) for outcome in await fetch(console, batches)] == [Retry] + [Done] * 5
    assert [call.fault for call in simulator.engine.calls] == ([kind] + [""] * 5) * 2


async def test_a_connection_reset_is_a_retry_of_every_part(simulator: Simulator, console: SearchConsole) -> None:
    simulator.engine.faults.replace((Fault(kind="reset", day=DAYS[2], count=1),))
    batches = [batch_of(day) for day in DAYS]
    outcomes = await fetch(BatchTransport(console, size=6, linger_s=60), batches)
    assert all(isinstance(outcome, Retry) and "transport" in outcome.reason for outcome in outcomes)
    again = await fetch(BatchTransport(console, size=6, linger_s=60), batches)
    assert all(isinstance(outcome, Done) for outcome in again)


async def test_a_part_that_stalls_delays_every_part(simulator: Simulator) -> None:
    simulator.engine.faults.replace((Fault(kind="stall", day=DAYS[2], seconds=60.0),))
    async with SearchConsole(simulator.root, timeout_s=1, connections=1) as impatient:
        outcomes = await fetch(BatchTransport(impatient, size=3, linger_s=60), [batch_of(day) for day in DAYS[2:5]])
    assert all(isinstance(outcome, Retry) and "timeout" in outcome.reason for outcome in outcomes)

    def only_it_is_in_flight() -> bool:
        return [call.day for call in simulator.engine.calls if call.finished is None] == [DAYS[2]]

    await until(only_it_is_in_flight, 60, "the other parts have their responses")


SLOW_BODIES: list[FaultKind] = ["stall_body", "trickle"]


@pytest.mark.parametrize("kind", SLOW_BODIES)
async def test_a_call_has_a_deadline_for_its_last_byte_however_slowly_the_body_comes(
    simulator: Simulator, kind: FaultKind
) -> None:
    simulator.engine.faults.replace(tuple(Fault(kind=kind, on=on, seconds=60.0) for on in ("query", "sites")))
    async with SearchConsole(simulator.root, timeout_s=1, connections=3) as impatient:
        outcomes = await fetch(impatient, [batch_of(DAYS[0])])
        outcomes += await fetch(BatchTransport(impatient, size=1, linger_s=60), [batch_of(DAYS[0])])
        assert outcomes == [Retry("timeout: no complete response within 1 s")] * 2
        for request in (impatient.totals(SITE, "web", (DAYS[0], DAYS[0]), "token"), impatient.sites("token")):
            with pytest.raises(Retryable, match="timeout: no complete response within 1 s"):
                await request


async def test_the_wait_for_room_in_memory_is_no_part_of_the_call(simulator: Simulator) -> None:
    memory = PageMemory(1, 2**20)
    first, second = (memory.permit(batch_of(day)) for day in DAYS[:2])
    await first.admit()
    async with SearchConsole(simulator.root, timeout_s=0.5, connections=1) as impatient:
        waiting = asyncio.create_task(impatient.query(batch_of(DAYS[0]), "token", second))
        await asyncio.sleep(1.0)
        first.release()
        assert isinstance(await waiting, Done)


async def test_a_quota_that_is_reached_within_a_batch_refuses_the_rest(
    simulator: Simulator, console: SearchConsole
) -> None:
    quotas = msgspec.structs.replace(simulator.engine.settings.quotas, site_qpm=4)
    simulator.engine.settings = msgspec.structs.replace(simulator.engine.settings, quotas=quotas)
    outcomes = await fetch(BatchTransport(console, size=6, linger_s=60), [batch_of(day) for day in DAYS])
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Done"] * 4 + ["Retry"] * 2
    assert {item.throttled for item in outcomes if isinstance(item, Retry)} == {"property"}


async def test_a_property_without_permission_is_dead_and_an_unreachable_server_is_a_retry(
    simulator: Simulator, console: SearchConsole
) -> None:
    other = batch_of(DAYS[0], property="sc-domain:not-ours.com")
    outcomes = await fetch(BatchTransport(console, size=2, linger_s=60), [other, batch_of(DAYS[0])])
    assert [type(outcome) for outcome in outcomes] == [Dead, Done]
    assert outcomes[0].halt.cause == "permission"
    async with SearchConsole("http://127.0.0.1:1", timeout_s=5, connections=1) as unreachable:
        outcomes = await fetch(BatchTransport(unreachable, size=2, linger_s=60), [batch_of(DAYS[0]), batch_of(DAYS[1])])
    assert [type(outcome) for outcome in outcomes] == [Retry, Retry]
