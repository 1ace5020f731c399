"""Replay on a real PostgreSQL: progress, selection, and a new generation."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from maintenance.replay import Replay, ReplayCounts, Selection, begin, begin_generation, finish
from pipeline.contracts import codec
from pipeline.contracts.messages import Unchanged
from pipeline.contracts.records import Record
from pipeline.errors import Retryable
from pipeline.ledger import pages
from pipeline.postgres import Connection, connection
from pipeline.schema import migrate
from pipeline.topic_reader import OffsetRange, OffsetRanges
from sink.writer import Writer
from support.examples import DAY, NOW, a_batch, some_rows

RANGES = {0: OffsetRange(10, 14)}
RECORDS = [
    Record("gsc.results", 0, 10 + n, None, codec.encode(some_rows(a_batch(start_row=25_000 * n), [f"q{n}"])), 0)
    for n in range(4)
]


class Reader:
    """Returns one record at a time, and fails after some."""

    def __init__(self, fails_after: int = 100) -> None:
        self.fails_after = fails_after

    async def records(self, ranges: OffsetRanges) -> AsyncIterator[list[Record]]:
        for number, record in enumerate(r for r in RECORDS if ranges[0].start <= r.offset < ranges[0].end):
            if number == self.fails_after:
                raise Retryable("the broker cannot be reached")
            yield [record]


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[Connection]:
    async with connection(dsn, application="test") as opened:
        await migrate(opened)
        yield opened


async def replayed(conn: Connection, reader: Any, selection: Selection) -> ReplayCounts:
    job = Replay(selection, None, Writer(conn, 0.5))
    counts = await job.run(reader, await begin(conn, job.name, RANGES), conn, lambda _: None)
    await finish(conn, job.name)
    return counts


async def table(conn: Connection) -> list[str]:
    return [row[0] async for row in await conn.execute("select query from gsc.facts order by 1")]


async def test_an_interrupted_replay_continues_and_a_finished_one_starts_again(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maintenance.replay.BATCH_BYTES", 1)
    everything = Selection()
    with pytest.raises(Retryable):
        await replayed(conn, Reader(fails_after=3), everything)
    assert await table(conn) == ["q0", "q1", "q2"]
    assert await begin(conn, Replay(everything, None, None).name, RANGES) == {0: OffsetRange(13, 14)}
    other = Selection(start=DAY)  # another selection has its own progress
    assert await begin(conn, Replay(other, None, None).name, RANGES) == RANGES
    counts = await replayed(conn, Reader(), everything)
    assert (counts.messages, counts.pages, counts.rows_written) == (1, 1, 1)
    assert await table(conn) == ["q0", "q1", "q2", "q3"]
    again = await replayed(conn, Reader(), everything)
    assert (again.messages, again.rows_written) == (4, 0)


async def test_only_selected_results_are_written(conn: Connection) -> None:
    counts = await replayed(conn, Reader(), Selection(properties=("sc-domain:other.com",)))
    assert (counts.messages, counts.selected, counts.pages) == (4, 0, 0)
    assert await table(conn) == []


async def test_a_replay_with_a_new_generation_overwrites_newer_rows(conn: Connection) -> None:
    await replayed(conn, Reader(), Selection())
    await conn.execute("update gsc.facts set clicks = 99, generation = 1000")
    assert (await replayed(conn, Reader(), Selection())).rows_written == 0
    run = await begin_generation(conn, "name")
    job = Replay(Selection(), run, Writer(conn, 0.5))
    counts = await job.run(Reader(), RANGES, conn, lambda _: None)  # type: ignore[arg-type]
    assert counts.rows_written == 4
    row = await (await conn.execute("select min(generation), max(clicks) from gsc.facts")).fetchone()
    assert row == (run.generation, 1.0)


async def test_an_unchanged_page_whose_rows_are_not_replayed_is_pending(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    unchanged = Unchanged(
        batch=a_batch(), fetch_id="f", fetched_at=NOW, base_generation=4, digest="a" * 32, page_rows=1,
        next_start_row=None,
    )  # fmt: skip
    monkeypatch.setitem(globals(), "RECORDS", [Record("gsc.results", 0, 10, None, codec.encode(unchanged), 0)])
    counts = await replayed(conn, Reader(), Selection())
    assert (counts.pages, counts.pages_refetched, counts.rows) == (0, 1, 0)
    (group,) = await pages.pending_groups(conn)
    assert await pages.next_pending(conn, {group: 1}, []) == [a_batch()]
