"""The statements of the outbox on a real PostgreSQL."""

from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import pytest
from msgspec.structs import replace

from pipeline.contracts.messages import Base, PageOutcome
from pipeline.contracts.records import Position, SeriesKey
from pipeline.ledger import days, page_results, pages, runs
from pipeline.postgres import Connection, become_leader, connection, has_leader
from support.examples import NOW
from support.ledger import add_pages, create_ledger, group


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[Connection]:
    async with connection(dsn, application="test") as opened:
        await create_ledger(opened)
        yield opened


async def test_every_group_of_pending_pages_is_found_with_the_oldest_run_first(conn: Connection) -> None:
    assert await pages.pending_groups(conn) == []
    await add_pages(conn, group("b", 2), 3, site="sc-domain:b.example")
    await add_pages(conn, group("b", 1), 2, site="sc-domain:b.example")
    await add_pages(conn, group("a", 3), 2)
    await add_pages(conn, group("a", 1), 1)
    groups = await pages.pending_groups(conn)
    assert sorted(groups) == [group("a", 1), group("a", 3), group("b", 1), group("b", 2)]
    assert groups.index(group("b", 1)) < groups.index(group("b", 2))


async def test_pages_are_returned_by_group_and_round_and_daily_ones_first(conn: Connection) -> None:
    await add_pages(conn, group("a", 1), 5)
    await add_pages(conn, group("a", 3), 5)
    await add_pages(conn, group("b", 2), 5, site="sc-domain:b.example")
    batches = await pages.next_pending(conn, {group("a", 1): 2, group("a", 3): 1, group("b", 2): 9}, [])
    of_a = [(batch.generation, batch.start_row // 25_000) for batch in batches if batch.credential == "a"]
    assert of_a == [(3, 0), (1, 0), (1, 1)]
    assert sum(batch.generation == 2 for batch in batches) == 5
    assert {(batch.property, batch.report, batch.dimensions) for batch in batches if batch.credential == "b"} == {
        ("sc-domain:b.example", "by_date", ("date",))
    }


async def test_pages_of_halted_properties_are_left_out_of_their_group(conn: Connection) -> None:
    await add_pages(conn, group("a", 1), 5, site="sc-domain:halted.example")
    await add_pages(conn, group("a", 1), 5, site="sc-domain:halted.example", search_type="image")
    await add_pages(conn, group("a", 1), 3)
    batches = await pages.next_pending(conn, {group("a", 1): 4}, ["sc-domain:halted.example", "sc-domain:unknown"])
    assert {batch.property for batch in batches} == {"sc-domain:a.example"}
    assert len(batches) == 3


async def test_published_pages_are_counted_by_credential_until_they_are_finished(conn: Connection) -> None:
    await add_pages(conn, group("a", 1), 4)
    await add_pages(conn, group("b", 2), 2, site="sc-domain:b.example")
    batches = await pages.next_pending(conn, {group("a", 1): 3, group("b", 2): 1}, [])
    await pages.mark_published(conn, batches, [Position(0, number) for number in range(len(batches))])
    assert await pages.published_by_credential(conn) == {"a": 3, "b": 1}
    assert (await runs.cancel(conn, "run-1")).pages == 4
    assert await pages.published_by_credential(conn) == {"b": 1}
    assert await pages.pending_groups(conn) == [group("b", 2)]


async def test_pending_pages_move_to_the_credential_of_their_property(conn: Connection) -> None:
    await add_pages(conn, group("a", 1), 3)
    await add_pages(conn, group("b", 2), 2, site="sc-domain:b.example")
    [published, *_] = await pages.next_pending(conn, {group("a", 1): 3}, [])
    await pages.mark_published(conn, [published], [Position(0, 0)])
    credentials = {"sc-domain:a.example": "new", "sc-domain:b.example": "b", "sc-domain:unknown.example": "c"}
    assert [await pages.move(conn, credentials, 1) for _ in range(3)] == [1, 1, 0]
    assert sorted(await pages.pending_groups(conn)) == [group("b", 2), group("new", 1)]
    assert await pages.published_by_credential(conn) == {"a": 1}
    assert await pages.move(conn, credentials, 100) == 0


async def test_a_page_that_is_deferred_to_another_credential_is_pending_under_it(conn: Connection) -> None:
    await add_pages(conn, group("a", 1), 1)
    [batch] = await pages.next_pending(conn, {group("a", 1): 1}, [])
    await pages.mark_published(conn, [batch], [Position(0, 0)])
    moved = PageOutcome(batch=replace(batch, credential="new"), state="deferred", reason="moved", detail="", at=NOW)
    await page_results.record_outcome(conn, 1, moved)
    assert await pages.pending_groups(conn) == [group("new", 1)]
    assert [item.batch_id for item in await pages.next_pending(conn, {group("new", 1): 1}, [])] == [batch.batch_id]


async def test_a_page_has_a_base_when_an_older_generation_is_complete(conn: Connection) -> None:
    await add_pages(conn, group("a", 2), 1)
    await add_pages(conn, group("a", 3), 1, conditional=False)

    async def base_with(generation: int, completed: str, digests: str) -> Base | None:
        await conn.execute(
            "insert into gsc.days (series, date, complete_generation, completed_at, digests)"
            f" select distinct series, date, {generation}, {completed}, {digests} from gsc.pages"
            " on conflict (series, date) do update set complete_generation = excluded.complete_generation,"
            " completed_at = excluded.completed_at, digests = excluded.digests"
        )
        batches = await pages.next_pending(conn, {group("a", 2): 1, group("a", 3): 1}, [])
        assert {batch.generation: batch.base for batch in batches}[3] is None
        return {batch.generation: batch.base for batch in batches}[2]

    digests = f"array['{'a' * 32}', '{'b' * 32}']::uuid[]"
    assert await base_with(1, "now()", digests) == Base(generation=1, digests=("a" * 32, "b" * 32))
    assert await base_with(1, "now()", "null::uuid[]") is None
    assert await base_with(1, "null::timestamptz", digests) is None
    assert await base_with(2, "now()", digests) is None


async def test_unfinished_pages_are_counted_by_credential_and_run_with_their_partitions(conn: Connection) -> None:
    await add_pages(conn, group("a", 1), 4)
    await add_pages(conn, group("a", 3), 1)
    batches = await pages.next_pending(conn, {group("a", 1): 3}, [])
    await pages.mark_published(conn, batches, [Position(number % 2, number) for number in range(3)])
    found = sorted((*item[:4], tuple(item.partitions)) for item in await pages.unfinished(conn))
    assert {item.run_id for item in await pages.unfinished(conn)} == {"run-1", "run-3"}
    assert found == [("a", "backfill", 0, 3, (0, 1)), ("a", "backfill", 1, 0, ()), ("a", "daily", 1, 0, ())]
    assert all(0 <= item.age_s < 600 for item in await pages.unfinished(conn))


async def test_unfinished_pages_of_halted_properties_are_counted(conn: Connection) -> None:
    await add_pages(conn, group("a", 1), 4, site="sc-domain:halted.example")
    await add_pages(conn, group("a", 1), 2)
    batches = await pages.next_pending(conn, {group("a", 1): 1}, ["sc-domain:a.example"])
    await pages.mark_published(conn, batches, [Position(0, 0)])
    found = await pages.unfinished(conn, ["sc-domain:halted.example", "sc-domain:unknown"])
    assert sorted((item.pending, item.published, item.halted) for item in found) == [(0, 1, 1), (5, 0, 3)]


async def test_days_are_counted_by_kind_and_by_age(conn: Connection) -> None:
    key = SeriesKey("sc-domain:a.example", "by_date", "web", ("date",))
    await conn.execute(
        "insert into gsc.days (series, date, complete_generation, truncated) values (%(s)s, '2026-01-01', 1, true),"
        " (%(s)s, '2026-01-02', null, false)",
        {"s": await runs.series_number(conn, key)},
    )
    assert await days.count(conn) == days.DayCounts(complete=1, pending=1, truncated=1)
    assert await days.newest_ages(conn, date(2026, 1, 11)) == days.NewestAges(10, 10)


async def test_each_property_has_its_newest_complete_day_and_its_unfinished_pages(conn: Connection) -> None:
    await add_pages(conn, group("a", 1), 4)
    await add_pages(conn, group("b", 2), 2, site="sc-domain:b.example")
    number = await runs.series_number(conn, SeriesKey("sc-domain:a.example", "by_date", "web", ("date",)))
    for day, complete in ((1, True), (2, True), (3, False)):
        await conn.execute(
            "insert into gsc.days (series, date, complete_generation, completed_at) values (%s, %s, %s, %s)",
            (number, date(2026, 1, day), 1 if complete else None, "2026-02-01T00:00:00Z" if complete else None),
        )
    assert await days.newest_complete(conn) == {
        "sc-domain:a.example": date(2026, 1, 2), "sc-domain:b.example": None,
    }  # fmt: skip
    [batch] = await pages.next_pending(conn, {group("a", 1): 1}, [])
    await pages.mark_published(conn, [batch], [Position(0, 0)])
    assert await pages.unfinished_by_property(conn) == {"sc-domain:a.example": 4, "sc-domain:b.example": 2}


async def test_pages_are_counted_by_state(conn: Connection) -> None:
    await add_pages(conn, group("a", 1), 4)
    assert await pages.count_by_state(conn) == {"pending": 4}


async def test_whether_a_producer_publishes_is_seen_from_another_connection(conn: Connection, dsn: str) -> None:
    assert not await has_leader(conn)
    async with connection(dsn, application="test") as other:
        assert await become_leader(other)
        assert await has_leader(conn)


async def test_the_statements_read_indexes_only_as_far_as_they_need(conn: Connection) -> None:
    """With many pages, also of a halted credential, no statement reads the whole table."""
    key = SeriesKey("sc-domain:a.example", "by_date", "web", ("date",))
    await conn.execute(
        "insert into gsc.pages (batch_id, run_id, generation, series, date, start_row, row_limit, data_state,"
        " credential, priority, round, state)"
        " select gen_random_uuid(), 'run-1', 1, %s, '2026-01-01', n, 25000, 'final',"
        " case when n %% 10 = 0 then 'open' else 'halted' end, 'backfill', n, 'pending'"
        " from generate_series(1, 20000) n",
        (await runs.series_number(conn, key),),
    )
    await pages.use_index_scans(conn)
    parameters = {
        "credentials": ["open"], "priorities": ["backfill"], "generations": [1], "counts": [50], "floors": [0],
        "properties": [],
    }  # fmt: skip
    for name in ("pending_groups", "next_pending", "published_by_credential"):
        cursor = await conn.execute("explain (analyze, format json) " + pages._SQL[name], parameters)
        row = await cursor.fetchone()
        assert row is not None
        assert _rows_read(row[0][0]["Plan"]) <= 50, (name, row[0])


async def test_pages_of_halted_properties_are_skipped_below_the_floor_of_their_group(conn: Connection) -> None:
    halted = "sc-domain:halted.example"
    await add_pages(conn, group("a", 1), 5, site=halted)
    await add_pages(conn, group("b", 2), 5, site=halted)
    await add_pages(conn, group("a", 1), 4)
    await conn.execute(
        "update gsc.pages p set round = round + 1000 from gsc.series s where s.series = p.series and property <> %s",
        (halted,),
    )
    floors = await pages.first_rounds(conn, [group("a", 1), group("b", 2)], [halted])
    assert floors == {group("a", 1): 1000}
    await pages.use_index_scans(conn)
    parameters = {
        "credentials": ["a"], "priorities": ["backfill"], "generations": [1], "counts": [3], "floors": [1000],
        "properties": [halted],
    }  # fmt: skip
    cursor = await conn.execute("explain (analyze, format json) " + pages._SQL["next_pending"], parameters)
    row = await cursor.fetchone()
    assert row is not None
    assert _rows_read(row[0][0]["Plan"]) <= 4
    batches = await pages.next_pending(conn, {group("a", 1): 3}, [halted], floors)
    assert {batch.property for batch in batches} == {"sc-domain:a.example"}
    assert len(batches) == 3


def _rows_read(plan: dict[str, Any]) -> float:
    """Return the most rows that a node of a plan read from gsc.pages in one loop."""
    read = 0.0
    if plan.get("Relation Name") == "pages":
        read = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
    return max([read, *map(_rows_read, plan.get("Plans", []))])
