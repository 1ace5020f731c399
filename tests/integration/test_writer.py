"""The sink's writer on a real PostgreSQL."""

from collections.abc import AsyncIterator, Sequence
from itertools import count, permutations
from typing import Any

import pytest

from maintenance.reconcile import findings_of, read_days
from pipeline.contracts import codec
from pipeline.contracts.messages import Batch, PageOutcome, Rows
from pipeline.contracts.records import Record
from pipeline.postgres import Connection, connection
from pipeline.schema import migrate
from sink.assembly import ReceivedResult
from sink.writer import Applied, Writer
from support.examples import DAY, NOW, a_batch, some_rows

offsets = count()


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[Connection]:
    async with connection(dsn, application="test") as opened:
        await migrate(opened)
        for generation in (4, 5, 6, 7):
            await opened.execute(
                "insert into gsc.runs values (%s, %s, %s, 'backfill', '{}', now())",
                (f"run-{generation}", f"request-{generation}", generation),
            )
        yield opened


@pytest.fixture
def writer(conn: Connection) -> Writer:
    return Writer(conn, delete_ratio=0.5)


def generation(number: int, **changes: Any) -> Batch:
    return a_batch(generation=number, run_id=f"run-{number}", **changes)


async def write(writer: Writer, *messages: Rows | PageOutcome) -> Applied:
    return await writer.write(
        [ReceivedResult(Record("gsc.results", 0, next(offsets), None, codec.encode(m), 0), m) for m in messages]
    )


async def table(conn: Connection) -> dict[str, float]:
    return dict(await (await conn.execute("select query, clicks from gsc.facts")).fetchall())


async def page_numbers(conn: Connection) -> dict[str, int]:
    return dict(await (await conn.execute("select query, page_number from gsc.facts")).fetchall())


async def versions(conn: Connection) -> dict[str, tuple[str, ...]]:
    """The physical version of each row, with its last lock."""
    cursor = await conn.execute("select query, ctid::text, xmin::text, xmax::text from gsc.facts")
    return {name: tuple(version) async for name, *version in cursor}


async def states(conn: Connection) -> list[tuple[int, str]]:
    return await (
        await conn.execute("select start_row, state from gsc.pages order by generation, start_row")
    ).fetchall()


async def complete(conn: Connection) -> int | None:
    row = await (await conn.execute("select max(complete_generation) from gsc.days")).fetchone()
    return row[0] if row else None


async def test_a_page_its_ledger_row_and_its_day_are_written_together(conn: Connection, writer: Writer) -> None:
    applied = await write(writer, some_rows(generation(5), ["a", "b"]))
    assert applied == Applied(pages=1, rows=2, written=2, deleted=0, days=1)
    assert await table(conn) == {"a": 1.0, "b": 2.0}
    assert await states(conn) == [(0, "applied")]
    assert await complete(conn) == 5


async def test_another_fetch_of_an_applied_page_changes_nothing(conn: Connection, writer: Writer) -> None:
    await write(writer, some_rows(generation(5), ["a", "b"]))
    other = some_rows(generation(5), ["a", "c", "d"], fetch_id="again", next_start_row=25_000)
    assert (await write(writer, other)).written == 0
    assert await table(conn) == {"a": 1.0, "b": 2.0}
    pages = await (await conn.execute("select fetch_id, rows, next_start_row from gsc.pages")).fetchall()
    assert pages == [("fetch-1", 2, None)]


async def test_a_page_beyond_the_last_page_of_a_complete_day_is_counted(conn: Connection, writer: Writer) -> None:
    """The first fetch of a page is the last of its day; a second fetch is full, and its next page is fetched, too."""
    first = generation(5, row_limit=2)
    await write(writer, some_rows(first, ["a"]))
    await write(writer, some_rows(first, ["a", "b"], fetch_id="again", next_start_row=2))
    await write(writer, some_rows(generation(5, row_limit=2, start_row=2), ["c"]))
    assert set(await table(conn)) == {"a", "c"}
    days = await (await conn.execute("select complete_generation, rows from gsc.days")).fetchall()
    assert days == [(5, 2)]


async def test_a_day_is_not_complete_while_a_page_waits_that_was_added_later(conn: Connection, writer: Writer) -> None:
    days = "select complete_generation, rows, completed_at is not null from gsc.days"
    first = generation(5, row_limit=1)
    await write(writer, some_rows(first, []))
    await write(writer, some_rows(first, ["a"], fetch_id="again", next_start_row=1))
    second = generation(5, row_limit=1, start_row=1)
    await write(writer, some_rows(second, ["b"], next_start_row=2))
    assert await (await conn.execute(days)).fetchall() == [(5, 1, False)]
    await write(writer, some_rows(generation(5, row_limit=1, start_row=2), []))
    assert await (await conn.execute(days)).fetchall() == [(5, 1, True)]


async def test_a_deferred_page_of_a_complete_day_makes_it_incomplete(conn: Connection, writer: Writer) -> None:
    await write(writer, some_rows(generation(5, row_limit=1), []))
    late = generation(5, row_limit=1, start_row=1)
    await write(writer, PageOutcome(batch=late, state="deferred", reason="halted", detail="", at=NOW))
    assert await (await conn.execute("select completed_at from gsc.days")).fetchall() == [(None,)]


async def test_a_redelivered_page_counts_nothing(conn: Connection, writer: Writer) -> None:
    page = some_rows(generation(5), ["a"])
    assert (await write(writer, page)).days == 1
    assert await write(writer, page) == Applied()


async def test_a_late_chunk_of_an_applied_page_is_not_parked(conn: Connection, writer: Writer) -> None:
    await write(writer, some_rows(generation(5), ["a"]))
    await write(writer, some_rows(generation(5), ["a"], chunk=0, chunks=2, page_rows=2, fetch_id="killed"))
    assert await (await conn.execute("select * from gsc.parked_chunks")).fetchall() == []


async def test_a_row_that_is_there_already_falls_back_to_the_staging_table(conn: Connection, writer: Writer) -> None:
    """The rows of a new day are copied straight into the table. Here a row of the second page is also on the first."""
    await write(writer, some_rows(generation(5, row_limit=2), ["a", "b"], next_start_row=2))
    second = some_rows(generation(5, row_limit=2, start_row=2), ["b", "c"], clicks=[8.0, 9.0])
    applied = await write(writer, second, some_rows(generation(5, property="x"), ["d"]))
    assert (applied.written, applied.deleted) == (3, 0)
    assert await table(conn) == {"a": 1.0, "b": 8.0, "c": 9.0, "d": 1.0}
    assert await page_numbers(conn) == {"a": 0, "b": 1, "c": 1, "d": 0}


async def test_rows_that_have_not_changed_are_not_touched(conn: Connection, writer: Writer) -> None:
    await write(writer, some_rows(generation(5), ["a", "b", "c"], position=[1.0, None, 2.0]))
    before = await versions(conn)
    again = some_rows(generation(6), ["a", "b", "c"], clicks=[1.0, 2.0, 7.0], position=[1.0, None, 2.0])
    assert await write(writer, again) == Applied(pages=1, rows=3, written=1, deleted=0, days=1)
    after = await versions(conn)
    assert {name for name in after if after[name] != before[name]} == {"c"}


async def test_pages_of_known_series_are_formatted_before_their_transaction(conn: Connection, writer: Writer) -> None:
    def received(message: Rows) -> list[ReceivedResult]:
        return [ReceivedResult(Record("gsc.results", 0, next(offsets), None, codec.encode(message), 0), message)]

    page = received(some_rows(generation(5), ["a", "b"]))
    assert writer.format_pages(page) == {}
    await writer.write(page)
    changed = received(some_rows(generation(6), ["a", "c"], clicks=[3.0, 4.0]))
    texts = writer.format_pages(changed)
    assert [text.generation for text in texts.values()] == [6]
    await writer.write(changed, texts)
    assert await table(conn) == {"a": 3.0, "c": 4.0}
    cut = some_rows(generation(7), ["a"], chunk=0, chunks=2, page_rows=2)
    assert writer.format_pages(received(cut)) == {}


async def test_a_row_that_moves_to_another_page_is_neither_lost_nor_doubled(conn: Connection, writer: Writer) -> None:
    for number, pages in ((5, (["a", "b"], ["c"])), (6, (["a", "c"], ["b"])), (7, (["b", "c"], ["a"]))):
        first, second = (generation(number, row_limit=2, start_row=start) for start in (0, 2))
        await write(writer, some_rows(first, pages[0], clicks=[1.0, 1.0], next_start_row=2))
        assert set(await table(conn)) >= {"a", "b"}
        assert (await write(writer, some_rows(second, pages[1]))).deleted == 0
        assert await page_numbers(conn) == dict.fromkeys(pages[0], 0) | dict.fromkeys(pages[1], 1)


async def test_an_older_generation_does_not_overwrite_what_a_newer_one_found_unchanged(
    conn: Connection, writer: Writer
) -> None:
    """The newer one has touched no row of its first page, and its second page is not applied yet."""
    limit = {"row_limit": 2}
    await write(writer, some_rows(generation(4, **limit), ["a", "b"], next_start_row=2))
    await write(writer, some_rows(generation(4, **limit, start_row=2), ["c"]))
    await write(writer, some_rows(generation(6, **limit), ["a", "b"], next_start_row=2))
    await write(writer, some_rows(generation(5, **limit), ["a", "z"], clicks=[9.0, 9.0], next_start_row=2))
    await write(writer, some_rows(generation(5, **limit, start_row=2), ["c"], clicks=[9.0]))
    assert await table(conn) == {"a": 1.0, "b": 2.0, "c": 9.0, "z": 9.0}
    assert await complete(conn) == 5
    assert (await write(writer, some_rows(generation(6, **limit, start_row=2), ["c"]))).deleted == 1
    assert await table(conn) == {"a": 1.0, "b": 2.0, "c": 1.0}


async def test_a_transaction_may_have_several_generations_and_pages_of_a_day(conn: Connection, writer: Writer) -> None:
    messages = [
        some_rows(generation(number, row_limit=2, start_row=start), texts, next_start_row=following)
        for number, pages in ((5, (["a", "b"], ["c"])), (6, (["a", "c"], ["d"])))
        for texts, start, following in zip(pages, (0, 2), (2, None), strict=True)
    ]
    assert (await write(writer, *reversed(messages))).days == 1
    assert await page_numbers(conn) == {"a": 0, "c": 0, "d": 1}
    assert await complete(conn) == 6


async def test_a_late_generation_that_completes_a_day_leaves_no_row_that_it_does_not_list(
    conn: Connection, writer: Writer
) -> None:
    """A newer generation has applied the first page only, and goes no further."""

    async def write_page(number: int, page: int, *names: str) -> None:
        following = page + 1 if names else None
        await write(writer, some_rows(generation(number, row_limit=1, start_row=page), names, next_start_row=following))

    for page, names in enumerate([("a",), ("b",), ()]):
        await write_page(5, page, *names)
    await write_page(7, 0, "a")
    for page, names in enumerate([("a",), ("c",), ()]):
        await write_page(6, page, *names)
    assert await complete(conn) == 6
    assert (await table(conn)).keys() == {"a", "c"}


async def test_a_row_on_two_pages_of_a_new_day_is_noticed(conn: Connection, writer: Writer) -> None:
    """The last page is written as one of a new day."""
    for page, (names, following) in enumerate([(["a"], 1), (["a"], 2), ([], None)]):
        await write(writer, some_rows(generation(5, row_limit=1, start_row=page), names, next_start_row=following))
    assert await complete(conn) == 5
    assert await (await conn.execute("select repeated from gsc.days")).fetchall() == [(True,)]


async def test_an_older_generation_never_overwrites_a_newer_one(conn: Connection, writer: Writer) -> None:
    await write(writer, some_rows(generation(5), ["a", "b"]))
    await write(writer, some_rows(generation(4), ["a", "z"], clicks=[99.0, 99.0]))
    assert await table(conn) == {"a": 1.0, "b": 2.0}
    assert await states(conn) == [(0, "applied"), (0, "applied")]
    assert await complete(conn) == 5


async def test_a_newer_generation_changes_adds_and_deletes_rows(conn: Connection, writer: Writer) -> None:
    await write(writer, some_rows(generation(5), ["a", "b", "vanished"]))
    applied = await write(writer, some_rows(generation(6), ["a", "b", "new"], clicks=[7.0, 8.0, 9.0]))
    assert applied.deleted == 1
    assert await table(conn) == {"a": 7.0, "b": 8.0, "new": 9.0}


async def test_too_many_vanished_rows_are_kept(conn: Connection, writer: Writer) -> None:
    await write(writer, some_rows(generation(5), ["a", "b", "c"]))
    assert (await write(writer, some_rows(generation(6), ["a"]))).deleted == 0
    assert set(await table(conn)) == {"a", "b", "c"}


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_chunks_and_pages_may_arrive_in_any_order(conn: Connection, writer: Writer, order: Sequence[int]) -> None:
    first, second = generation(5, row_limit=2), generation(5, row_limit=2, start_row=2)
    messages = [
        some_rows(first, ["a"], chunk=0, chunks=2, page_rows=2, next_start_row=2),
        some_rows(first, ["b"], chunk=1, chunks=2, page_rows=2, next_start_row=2),
        some_rows(second, ["c"]),
    ]
    done = []
    for number in order:
        done.append(await complete(conn))
        await write(writer, messages[number])
    assert done == [None] * 3
    assert set(await table(conn)) == {"a", "b", "c"}
    assert await states(conn) == [(0, "applied"), (2, "applied")]
    assert await complete(conn) == 5
    assert await (await conn.execute("select * from gsc.parked_chunks")).fetchall() == []


async def test_an_orphan_chunk_of_a_killed_fetch_leaves_no_row(conn: Connection, writer: Writer) -> None:
    batch = generation(5)
    await write(writer, some_rows(batch, ["stale"], chunk=0, chunks=2, page_rows=2, fetch_id="killed"))
    assert await table(conn) == {}
    await write(writer, some_rows(batch, ["a"], fetch_id="second"))
    await write(writer, some_rows(batch, ["late"], chunk=1, chunks=2, page_rows=2, fetch_id="killed"))
    assert set(await table(conn)) == {"a"}


async def test_an_empty_day_is_complete(conn: Connection, writer: Writer) -> None:
    assert (await write(writer, some_rows(generation(5), []))).days == 1
    assert await complete(conn) == 5


async def test_a_day_that_google_has_not_published_stays_as_it_was(conn: Connection, writer: Writer) -> None:
    assert (await write(writer, some_rows(generation(4), [], first_incomplete_date=DAY))).days == 0
    assert await states(conn) == [(0, "applied")]
    assert await complete(conn) is None
    assert [finding.kind for day in await read_days(conn, DAY, DAY) for finding in findings_of(day, NOW)] == [
        "unpublished"
    ]
    await write(writer, some_rows(generation(5), ["a"], first_incomplete_date=DAY))
    assert (await write(writer, some_rows(generation(6), [], first_incomplete_date=DAY))).deleted == 0
    assert await complete(conn) == 5
    assert await table(conn) == {"a": 1.0}


async def test_a_row_repeated_at_a_border_counts_once(conn: Connection, writer: Writer) -> None:
    first = some_rows(generation(5, row_limit=2), ["a", "b"], next_start_row=2)
    second = some_rows(generation(5, row_limit=2, start_row=2), ["b", "c"], clicks=[2.0, 3.0])
    await write(writer, first, second)
    assert await table(conn) == {"a": 1.0, "b": 2.0, "c": 3.0}


async def test_outcomes_change_published_pages(conn: Connection, writer: Writer) -> None:
    await write(writer, some_rows(generation(5, row_limit=1), ["a"], next_start_row=1))
    following = generation(5, row_limit=1, start_row=1)
    await write(writer, PageOutcome(batch=following, state="deferred", reason="halted", detail="", at=NOW))
    assert await states(conn) == [(0, "applied"), (1, "pending")]
    await write(writer, PageOutcome(batch=following, state="dead", reason="permission", detail="", at=NOW))
    assert await states(conn) == [(0, "applied"), (1, "dead")]
    assert await complete(conn) is None


async def test_unusual_text_is_stored(conn: Connection, writer: Writer) -> None:
    texts = ["nul\x00", "tab\t", "new\nline", "back\\slash", "\\N", "日本語 🚀", "x" * 20_000, "'", '"']
    await write(writer, some_rows(generation(5), texts))
    assert set(await table(conn)) == {text.replace("\x00", "\\x00") for text in texts}


async def test_unknown_runs_are_reported(writer: Writer) -> None:
    batches = (a_batch(run_id="nobody", generation=5), generation(5), a_batch(run_id="run-4", generation=5))
    received = [ReceivedResult(Record("", 0, 0, None, b"", 0), some_rows(batch, ["a"])) for batch in batches]
    assert await writer.unknown_runs(received) == {("nobody", 5), ("run-4", 5)}
