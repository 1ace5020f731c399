"""A replay that is interrupted goes on where it was; one that has ended begins anew."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from maintenance.replay import Replay, ReplayCounts, Selection, begin, begin_generation, finish
from pipeline.contracts import codec
from pipeline.contracts.records import Record
from pipeline.errors import Retryable
from pipeline.postgres import Connection, connection
from pipeline.schema import migrate
from pipeline.topic_reader import OffsetRange, OffsetRanges
from sink.writer import Writer
from support.examples import DAY, a_batch, some_rows

SPANS = {0: OffsetRange(10, 14)}
RECORDS = [
    Record("gsc.results", 0, 10 + n, None, codec.encode(some_rows(a_batch(start_row=25_000 * n), [f"q{n}"])), 0)
    for n in range(4)
]


class Reader:
    """Hands out one record at a time, and breaks after some."""

    def __init__(self, breaks_after: int = 100) -> None:
        self.breaks_after = breaks_after

    async def records(self, spans: OffsetRanges) -> AsyncIterator[list[Record]]:
        for number, record in enumerate(r for r in RECORDS if spans[0].start <= r.offset < spans[0].end):
            if number == self.breaks_after:
                raise Retryable("the broker is away")
            yield [record]


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[Connection]:
    async with connection(dsn, application="test") as opened:
        await migrate(opened)
        yield opened


async def replayed(conn: Connection, reader: Any, selection: Selection) -> ReplayCounts:
    job = Replay(selection, None, Writer(conn, 0.5))
    tally = await job.run(reader, await begin(conn, job.name, SPANS), conn, lambda _: None)
    await finish(conn, job.name)
    return tally


async def table(conn: Connection) -> list[str]:
    return [row[0] async for row in await conn.execute("select query from gsc.facts order by 1")]


async def test_an_interrupted_replay_goes_on(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maintenance.replay.BATCH_BYTES", 1)
    everything = Selection()
    with pytest.raises(Retryable):
        await replayed(conn, Reader(breaks_after=3), everything)
    assert await table(conn) == ["q0", "q1", "q2"]
    assert await begin(conn, Replay(everything, None, None).name, SPANS) == {0: OffsetRange(13, 14)}
    other = Selection(start=DAY)  # another selection knows nothing of it
    assert await begin(conn, Replay(other, None, None).name, SPANS) == SPANS
    tally = await replayed(conn, Reader(), everything)
    assert (tally.messages, tally.pages, tally.rows_written) == (1, 1, 1)
    assert await table(conn) == ["q0", "q1", "q2", "q3"]
    again = await replayed(conn, Reader(), everything)
    assert (again.messages, again.rows_written) == (4, 0)


async def test_only_what_is_selected_is_written(conn: Connection) -> None:
    tally = await replayed(conn, Reader(), Selection(properties=("sc-domain:other.com",)))
    assert (tally.messages, tally.selected, tally.pages) == (4, 0, 0)
    assert await table(conn) == []


async def test_a_generation_of_its_own_overwrites_what_is_newer(conn: Connection) -> None:
    await replayed(conn, Reader(), Selection())
    await conn.execute("update gsc.facts set clicks = 99, generation = 1000")
    assert (await replayed(conn, Reader(), Selection())).rows_written == 0
    rebirth = await begin_generation(conn, "name")
    job = Replay(Selection(), rebirth, Writer(conn, 0.5))
    tally = await job.run(Reader(), SPANS, conn, lambda _: None)  # type: ignore[arg-type]
    assert tally.rows_written == 4
    row = await (await conn.execute("select min(generation), max(clicks) from gsc.facts")).fetchone()
    assert row == (rebirth.generation, 1.0)
