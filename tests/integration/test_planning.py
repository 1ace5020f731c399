"""Planning runs on a real PostgreSQL."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from pipeline.catalog import Catalog, Credential, Property
from pipeline.clock import now
from pipeline.contracts.identity import run_id
from pipeline.contracts.messages import SyncRequest
from pipeline.ledger import pages, runs
from pipeline.ledger.changes import listen, wait_for_change
from pipeline.pacific import pacific_date
from pipeline.postgres import Connection, connection
from pipeline.schema import migrate
from producer.intake import accept
from producer.plan_writer import PAGES_PER_CHUNK, TenantRotation, write_chunk
from producer.planner import plan

CATALOG = Catalog(
    credentials=tuple(Credential(id=name, type="service_account", file=Path("x")) for name in ("acme", "other")),
    properties=(
        Property(url="sc-domain:b.example", credential="acme"),
        Property(url="sc-domain:a.example", credential="acme"),
        Property(url="sc-domain:c.example", credential="other"),
    ),
)
TODAY = pacific_date(now())
BACKFILL = SyncRequest(
    request_id="backfill",
    properties=("sc-domain:a.example", "sc-domain:b.example"),
    start=TODAY - timedelta(days=200),
    end=TODAY,
    requested_at=now(),
)
DAILY = SyncRequest(
    request_id="daily", properties=("sc-domain:c.example",), start=TODAY - timedelta(days=10), end=TODAY,
    requested_at=now(), priority="daily", rolling=True,
)  # fmt: skip


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[Connection]:
    async with connection(dsn, application="test") as opened:
        await migrate(opened)
        yield opened


async def write_chunks(conn: Connection, count: int = 1000) -> None:
    rotation = TenantRotation()
    for _ in range(count):
        if waiting := await runs.unplanned(conn):
            await write_chunk(conn, rotation.next(waiting), CATALOG)


async def batch_ids(conn: Connection, request: SyncRequest) -> set[str]:
    rows = await conn.execute("select batch_id from gsc.pages where run_id = %s", (run_id(request.request_id),))
    return {row[0].hex async for row in rows}


async def generation_of(conn: Connection, request: SyncRequest) -> int:
    row = await (
        await conn.execute("select generation from gsc.runs where run_id = %s", (run_id(request.request_id),))
    ).fetchone()
    assert row is not None
    return int(row[0])


async def test_a_run_appears_with_all_its_pages_or_not_at_all(conn: Connection) -> None:
    assert await accept(conn, BACKFILL, CATALOG, now())
    expected = list(plan(BACKFILL, CATALOG, await generation_of(conn, BACKFILL), TODAY))
    assert len(expected) > 2 * PAGES_PER_CHUNK
    for written in range(len(expected) // PAGES_PER_CHUNK + 1):
        progress = await runs.progress(conn, run_id("backfill"))
        assert (progress and progress.state, progress and progress.eta_s) == ("planning", None), written
        assert (await pages.pending_groups(conn), await pages.unfinished(conn)) == ([], [])
        await write_chunks(conn, 1)
    assert await runs.unplanned(conn) == []
    assert await batch_ids(conn, BACKFILL) == {page.batch_id for page in expected}
    progress = await runs.progress(conn, run_id("backfill"))
    assert progress is not None
    assert (progress.state, progress.pages) == ("running", {"pending": len(expected)})
    assert (progress.start, progress.end) == (BACKFILL.start, BACKFILL.end)
    assert await runs.newest(conn, 5) == [progress]
    assert [group.credential for group in await pages.pending_groups(conn)] == ["acme"]


async def test_the_same_request_again_changes_nothing(conn: Connection) -> None:
    for request in (BACKFILL, DAILY):
        assert await accept(conn, request, CATALOG, now())
        assert not await accept(conn, request, CATALOG, now())
    await write_chunks(conn)
    planned = await batch_ids(conn, BACKFILL)
    assert not await accept(conn, BACKFILL, CATALOG, now())
    await write_chunks(conn)
    assert await batch_ids(conn, BACKFILL) == planned


@pytest.mark.parametrize("full", [True, False])
async def test_only_pages_of_a_full_request_are_fetched_without_a_base(conn: Connection, full: bool) -> None:
    await accept(conn, msgspec.structs.replace(DAILY, full=full), CATALOG, now())
    await write_chunks(conn)
    assert await (await conn.execute("select distinct conditional from gsc.pages")).fetchall() == [(not full,)]


async def test_a_daily_request_is_planned_before_the_rest_of_a_backfill(conn: Connection) -> None:
    await accept(conn, BACKFILL, CATALOG, now())
    await write_chunks(conn, 1)
    await accept(conn, DAILY, CATALOG, now())
    await write_chunks(conn, 1)
    assert [group.run_id for group in await pages.pending_groups(conn)] == [run_id("daily")]
    assert [run.run_id for run in await runs.unplanned(conn)] == [run_id("backfill")]


async def test_planning_goes_on_behind_the_last_chunk_after_a_kill(conn: Connection, dsn: str) -> None:
    await accept(conn, BACKFILL, CATALOG, now())
    await write_chunks(conn, 1)
    written = await batch_ids(conn, BACKFILL)
    async with connection(dsn, application="killed") as killed:
        [run] = await runs.unplanned(killed)
        async with killed.transaction(force_rollback=True):
            await write_chunk(killed, run, CATALOG)
    assert await batch_ids(conn, BACKFILL) == written
    await write_chunks(conn)
    rounds = await conn.execute(
        "select count(*), max(round) + 1 from gsc.pages join gsc.series using (series) group by property"
    )
    assert [count == last async for count, last in rounds] == [True, True]
    expected = plan(BACKFILL, CATALOG, await generation_of(conn, BACKFILL), TODAY)
    assert await batch_ids(conn, BACKFILL) == {page.batch_id for page in expected}


async def test_a_chunk_that_another_producer_has_written_is_not_written_twice(conn: Connection) -> None:
    await accept(conn, BACKFILL, CATALOG, now())
    [run] = await runs.unplanned(conn)
    await write_chunk(conn, run, CATALOG)
    written = await batch_ids(conn, BACKFILL)
    await write_chunk(conn, run, CATALOG)
    assert await batch_ids(conn, BACKFILL) == written
    assert len(written) >= PAGES_PER_CHUNK


async def test_a_cancelled_run_gets_no_more_pages(conn: Connection) -> None:
    await accept(conn, BACKFILL, CATALOG, now())
    await write_chunks(conn, 1)
    [run] = await runs.unplanned(conn)
    cancelled = await runs.cancel(conn, run.run_id)
    assert (cancelled.pages >= PAGES_PER_CHUNK, cancelled.before, cancelled.unplanned) == (True, 0, True)
    await write_chunk(conn, run, CATALOG)
    assert await runs.unplanned(conn) == []
    progress = await runs.progress(conn, run.run_id)
    assert progress is not None
    assert (progress.state, progress.pages) == ("cancelled", {"cancelled": cancelled.pages})


async def test_planning_locks_no_series_that_the_sink_needs(conn: Connection, dsn: str) -> None:
    await accept(conn, BACKFILL, CATALOG, now())
    series = {page.series() for page in plan(BACKFILL, CATALOG, 1, TODAY)}
    numbers = await runs.series_numbers(conn, series)
    [run] = await runs.unplanned(conn)
    async with connection(dsn, application="sink") as sink, conn.transaction():
        await write_chunk(conn, run, CATALOG)
        assert {key: await runs.series_number(sink, key) for key in series} == numbers


async def test_an_accepted_and_a_planned_run_notify_the_producer(conn: Connection, dsn: str) -> None:
    async with connection(dsn, application="listener") as listener:
        await listen(listener)
        await accept(conn, DAILY, CATALOG, now())
        assert await wait_for_change(listener, 30.0)
        await write_chunks(conn, 1)
        assert await wait_for_change(listener, 30.0)
