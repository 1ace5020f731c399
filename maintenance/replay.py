"""Old results written again, beside live work: a job over a range of `gsc.results`."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from hashlib import blake2b

import msgspec

from pipeline.clock import now
from pipeline.contracts import codec
from pipeline.contracts.identity import batch_id, page_of
from pipeline.contracts.messages import Batch, PageOutcome, Rows
from pipeline.contracts.records import Record
from pipeline.errors import Invalid
from pipeline.ledger import runs
from pipeline.postgres import Connection, database_errors, queries
from pipeline.topic_reader import OffsetRange, TopicReader
from sink.assembly import ReceivedResult, read_result
from sink.writer import Applied, Writer, write_apart

BATCH_BYTES = 16_000_000
_SQL = queries("maintenance", "replay.sql")


@dataclass(frozen=True)
class Selection:
    """Which results: written in a time (`since`, `until`), of properties, of days. None and () are all."""

    since: datetime | None = None
    until: datetime | None = None
    properties: tuple[str, ...] = ()
    start: date | None = None
    end: date | None = None

    def takes(self, batch: Batch) -> bool:
        """Whether a result of this batch is among them."""
        return (
            (not self.properties or batch.property in self.properties)
            and (self.start is None or batch.date >= self.start)
            and (self.end is None or batch.date <= self.end)
        )


@dataclass(frozen=True)
class NewGeneration:
    """A generation of its own for everything that is replayed, so that it overwrites what is newer."""

    run_id: str
    generation: int

    def of(self, message: Rows | PageOutcome) -> Rows | PageOutcome:
        """The message as if it had been planned now."""
        batch = message.batch
        page = page_of(batch)._replace(generation=self.generation)
        reborn = msgspec.structs.replace(batch, batch_id=batch_id(page), run_id=self.run_id, generation=self.generation)
        return msgspec.structs.replace(message, batch=reborn)


@dataclass
class ReplayCounts:
    """What was read, and what came of it. `rows_written` are new or changed ones, the others were there already."""

    messages: int = 0
    selected: int = 0
    unreadable: int = 0
    unstorable: int = 0
    pages: int = 0
    rows: int = 0
    rows_written: int = 0
    rows_deleted: int = 0
    days: int = 0
    rows_by_property: dict[str, int] = field(default_factory=dict)

    def add(self, applied: Applied) -> None:
        """A transaction was written."""
        self.pages += applied.pages
        self.rows_written += applied.written
        self.rows_deleted += applied.deleted
        self.days += applied.days


Show = Callable[[ReplayCounts], None]


class Replay:
    """One job. Interrupted, the same selection goes on where it was; ended, it begins anew."""

    def __init__(self, selection: Selection, rebirth: NewGeneration | None, writer: Writer | None) -> None:
        self._selection = selection
        self._rebirth = rebirth
        self._writer = writer
        """None: only count."""

    @property
    def name(self) -> str:
        """The same for the same selection."""
        told = msgspec.json.encode((msgspec.to_builtins(self._selection), self._rebirth is not None))
        return blake2b(told, digest_size=8).hexdigest()

    async def run(
        self, reader: TopicReader, spans: Mapping[int, OffsetRange], conn: Connection, show: Show
    ) -> ReplayCounts:
        """Read the spans and write what is selected. Raises Retryable when a server goes away: run it again then."""
        tally = ReplayCounts()
        waiting: list[Record] = []
        waiting_bytes = 0
        async for records in reader.records(spans):
            waiting += records
            waiting_bytes += sum(len(record.value or b"") for record in records)
            if waiting_bytes >= BATCH_BYTES:
                await self._write(waiting, tally, conn)
                waiting, waiting_bytes = [], 0
                show(tally)
        await self._write(waiting, tally, conn)
        show(tally)
        return tally

    async def _write(self, records: list[Record], tally: ReplayCounts, conn: Connection) -> None:
        tally.messages += len(records)
        received = list(self._selected(records, tally))
        if self._writer is None:
            return
        if received:
            await runs.restore_runs(conn, (item.message.batch for item in received), now())
            await self._write_whole(self._writer, received, tally)
        ends = {record.partition: record.offset + 1 for record in records}
        await save_progress(conn, self.name, ends)

    @staticmethod
    async def _write_whole(writer: Writer, received: list[ReceivedResult], tally: ReplayCounts) -> None:
        async def write(part: list[ReceivedResult]) -> None:
            tally.add(await writer.write(part))

        async def unstorable(_: ReceivedResult, __: Invalid) -> None:
            tally.unstorable += 1  # the sink has put it into the dead letters

        await write_apart(received, write, unstorable)

    def _selected(self, records: Iterable[Record], tally: ReplayCounts) -> Iterable[ReceivedResult]:
        for record in records:
            try:
                found = read_result(record)
            except Invalid:
                tally.unreadable += 1
                continue
            if self._selection.takes(found.message.batch):
                self._count(found.message, tally)
                yield self._reborn(found)

    @staticmethod
    def _count(message: Rows | PageOutcome, tally: ReplayCounts) -> None:
        tally.selected += 1
        if isinstance(message, Rows):
            tally.rows += len(message.clicks)
            name = message.batch.property
            tally.rows_by_property[name] = tally.rows_by_property.get(name, 0) + len(message.clicks)

    def _reborn(self, found: ReceivedResult) -> ReceivedResult:
        if self._rebirth is None:
            return found
        again = self._rebirth.of(found.message)
        return ReceivedResult(found.record._replace(value=codec.encode(again)), again)


async def begin(conn: Connection, name: str, spans: Mapping[int, OffsetRange]) -> dict[int, OffsetRange]:
    """What is left of an interrupted replay of that name; or the spans, when there is none."""
    async with database_errors(), conn.transaction():
        rows = await (await conn.execute(_SQL["left"], {"replay": name})).fetchall()
        left = {number: OffsetRange(start, end) for number, start, end in rows if start < end}
        if left:
            return left
        columns = {
            "partitions": list(spans),
            "starts": [s.start for s in spans.values()],
            "ends": [s.end for s in spans.values()],
        }
        await conn.execute(_SQL["forget"], {"replay": name})
        await conn.execute(_SQL["begin"], {"replay": name, **columns})
        return dict(spans)


async def save_progress(conn: Connection, name: str, ends: Mapping[int, int]) -> None:
    """Everything before these offsets is written."""
    async with database_errors():
        columns = {"partitions": list(ends), "offsets": list(ends.values())}
        await conn.execute(_SQL["progress"], {"replay": name, **columns})


async def finish(conn: Connection, name: str) -> None:
    """The replay is over: the same selection begins anew."""
    async with database_errors():
        await conn.execute(_SQL["forget"], {"replay": name})


async def begin_generation(conn: Connection, name: str) -> NewGeneration:
    """A run of its own, with the newest generation."""
    moment = now()
    return NewGeneration(
        *await runs.create_replay_run(conn, f"replay-{name}-{round(moment.timestamp() * 1000)}", moment)
    )
