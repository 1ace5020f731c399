"""Results without rows, on a real PostgreSQL: what the sink makes of them."""

from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest

from pipeline.contracts import codec
from pipeline.contracts.messages import Result, Rows, Unchanged
from pipeline.contracts.records import Record
from pipeline.ledger import pages
from pipeline.postgres import Connection, connection
from pipeline.schema import migrate
from sink.assembly import ReceivedResult
from sink.writer import Applied, Writer
from support.examples import NOW, a_batch, some_rows

LIMIT = 2
offsets = count()


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[Connection]:
    async with connection(dsn, application="test") as opened:
        await migrate(opened)
        for generation in (4, 5, 6):
            await opened.execute(
                "insert into gsc.runs (run_id, request_id, generation, priority, request, accepted_at, planned_at)"
                " values (%s, %s, %s, 'backfill', '{}', now(), now())",
                (f"run-{generation}", f"request-{generation}", generation),
            )
        yield opened


@pytest.fixture
def writer(conn: Connection) -> Writer:
    return Writer(conn, delete_ratio=0.5)


def fetch(generation: int, start_row: int, texts: str) -> dict[str, Any]:
    """The fields of a result of a page that has a row for each letter."""
    return {
        "batch": a_batch(generation=generation, run_id=f"run-{generation}", start_row=start_row, row_limit=LIMIT),
        "page_rows": len(texts),
        "next_start_row": start_row + LIMIT if len(texts) == LIMIT else None,
        "digest": f"{texts.encode().hex():0>32}",
    }


def rows(generation: int, start_row: int, texts: str) -> Rows:
    fields = fetch(generation, start_row, texts)
    return some_rows(fields.pop("batch"), list(texts), **fields)


def unchanged(generation: int, start_row: int, texts: str, *, base: int = 4) -> Unchanged:
    return Unchanged(fetch_id="fetch-2", fetched_at=NOW, base_generation=base, **fetch(generation, start_row, texts))


async def write(writer: Writer, *messages: Result) -> Applied:
    return await writer.write(
        [ReceivedResult(Record("gsc.results", 0, next(offsets), None, codec.encode(m), 0), m) for m in messages]
    )


async def query(conn: Connection, statement: str) -> list[tuple[Any, ...]]:
    return await (await conn.execute(statement.encode())).fetchall()


async def versions(conn: Connection) -> dict[str, tuple[Any, ...]]:
    """Of each row, what changes whenever it is written."""
    return {row[0]: row[1:] for row in await query(conn, "select query, xmin, ctid, generation from gsc.facts")}


async def states(conn: Connection, generation: int) -> list[str]:
    statement = f"select state from gsc.pages where generation = {generation} order by start_row"
    return [state for (state,) in await query(conn, statement)]


async def day(conn: Connection) -> list[tuple[Any, ...]]:
    return await query(conn, "select complete_generation, rows, cardinality(digests) from gsc.days")


async def test_an_unchanged_day_moves_on_and_no_row_is_touched(conn: Connection, writer: Writer) -> None:
    await write(writer, rows(4, 0, "ab"), rows(4, 2, "c"))
    before = await versions(conn)
    assert await write(writer, unchanged(5, 0, "ab")) == Applied(pages=1, unchanged=1)
    assert await write(writer, unchanged(5, 2, "c")) == Applied(pages=1, days=1, unchanged=1)
    assert await versions(conn) == before
    assert await day(conn) == [(5, 3, 2)]
    counts = await query(conn, "select rows, unchanged from gsc.pages where generation = 5 order by start_row")
    assert counts == [(2, True), (1, True)]
    assert (await write(writer, unchanged(6, 0, "ab", base=5), unchanged(6, 2, "c", base=5))).days == 1


async def test_of_a_mixed_day_only_the_changed_page_is_written_and_swept(conn: Connection, writer: Writer) -> None:
    await write(writer, rows(4, 0, "ab"), rows(4, 2, "cd"), rows(4, 4, "e"))
    before = await versions(conn)
    await write(writer, rows(5, 0, "af"), unchanged(5, 2, "cd"))
    assert (await write(writer, unchanged(5, 4, "e"))).deleted == 1
    after = await versions(conn)
    assert sorted(after) == ["a", "c", "d", "e", "f"]
    assert {text: after[text] for text in "cde"} == {text: before[text] for text in "cde"}
    assert await day(conn) == [(5, 5, 3)]


async def test_a_page_whose_base_is_replaced_is_fetched_again_with_its_rows(conn: Connection, writer: Writer) -> None:
    await write(writer, rows(4, 0, "a"))
    await write(writer, rows(5, 0, "b"))
    assert await write(writer, unchanged(6, 0, "a")) == Applied(refetched=1)
    assert (await states(conn, 6), await day(conn)) == (["pending"], [(5, 1, 1)])
    (group,) = await pages.pending_groups(conn)
    (batch,) = await pages.next_pending(conn, {group: 1}, [])
    assert batch.base is None
    assert (await write(writer, rows(6, 0, "a"))).days == 1


@pytest.mark.parametrize("result", [unchanged(5, 0, "z"), unchanged(5, 2, "a"), unchanged(5, 0, "a", base=3)])
async def test_a_page_that_is_not_in_the_base_is_fetched_again(
    conn: Connection, writer: Writer, result: Unchanged
) -> None:
    await write(writer, rows(4, 0, "a"))
    assert await write(writer, result) == Applied(refetched=1)


async def test_an_unchanged_page_older_than_the_complete_generation_changes_nothing(
    conn: Connection, writer: Writer
) -> None:
    await write(writer, rows(6, 0, "a"))
    before = await versions(conn), await day(conn)
    assert (await write(writer, unchanged(5, 0, "b"))).pages == 1
    assert (await versions(conn), await day(conn), await states(conn, 5)) == (*before, ["applied"])


@pytest.mark.parametrize(("partial", "later"), [(5, 6), (6, 5)])
async def test_a_page_is_fetched_again_when_another_generation_has_written_to_the_day(
    conn: Connection, writer: Writer, partial: int, later: int
) -> None:
    await write(writer, rows(4, 0, "ab"), rows(4, 2, "c"))
    await write(writer, rows(partial, 0, "ax"))
    assert await write(writer, unchanged(later, 0, "ab")) == Applied(refetched=1)


async def test_a_generation_before_a_confirmed_page_writes_no_rows(conn: Connection, writer: Writer) -> None:
    await write(writer, rows(4, 0, "ab"), rows(4, 2, "c"))
    before = await versions(conn)
    await write(writer, unchanged(6, 0, "ab"))
    assert (await write(writer, rows(5, 0, "ax"), rows(5, 2, "y"))).written == 0
    assert (await versions(conn), await day(conn)) == (before, [(4, 3, 2)])
    assert (await write(writer, rows(6, 2, "y"))).deleted == 1
    assert (sorted(await versions(conn)), await day(conn)) == (["a", "b", "y"], [(6, 3, 2)])


async def test_a_day_whose_pages_share_a_row_is_unchanged_as_a_whole(conn: Connection, writer: Writer) -> None:
    await write(writer, rows(4, 0, "ab"), rows(4, 2, "b"))
    await write(writer, unchanged(5, 0, "ab"))
    assert (await write(writer, unchanged(5, 2, "b"))).days == 1
    assert (await write(writer, unchanged(6, 0, "ab", base=5), unchanged(6, 2, "b", base=5))).days == 1


@pytest.mark.parametrize("confirmed_first", [True, False])
async def test_of_a_day_whose_pages_share_a_row_all_are_fetched_when_one_changes(
    conn: Connection, writer: Writer, confirmed_first: bool
) -> None:
    """The row is in the table once, on the second page, which does not have it any more; the first one still has."""
    await write(writer, rows(4, 0, "ab"), rows(4, 2, "b"))
    first, second = unchanged(5, 0, "ab"), rows(5, 2, "c")
    for result in (first, second) if confirmed_first else (second, first):
        await write(writer, result)
    assert await states(conn, 5) == ["pending", "applied"]
    await write(writer, rows(5, 0, "ab"))
    assert (sorted(await versions(conn)), await day(conn)) == (["a", "b", "c"], [(5, 3, 2)])


async def test_a_day_with_kept_rows_has_no_digests(conn: Connection, writer: Writer) -> None:
    await write(writer, rows(4, 0, "a"))
    await write(writer, rows(5, 0, "b"))
    assert (await day(conn), sorted(await versions(conn))) == ([(5, 1, 1)], ["b"])
    writer_that_keeps = Writer(conn, delete_ratio=0.0)
    await write(writer_that_keeps, rows(6, 0, "c"))
    assert (await day(conn), sorted(await versions(conn))) == ([(6, 1, None)], ["b", "c"])


async def test_of_two_fetches_of_a_page_in_one_batch_the_rows_count(conn: Connection, writer: Writer) -> None:
    await write(writer, rows(4, 0, "a"))
    await write(writer, unchanged(5, 0, "a"), rows(5, 0, "b"))
    assert sorted(await versions(conn)) == ["b"]


async def test_a_batch_of_results_may_have_a_page_after_its_base(conn: Connection, writer: Writer) -> None:
    """As in a replay, which reads results of several generations at once."""
    applied = await write(writer, unchanged(6, 0, "a", base=5), rows(4, 0, "a"), unchanged(5, 0, "a"))
    assert (applied.days, applied.unchanged, await day(conn)) == (3, 2, [(6, 1, 1)])
