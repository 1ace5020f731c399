"""Replay: writes a range of `gsc.results` to PostgreSQL again, beside live work."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from hashlib import blake2b

import msgspec

from pipeline.clock import now
from pipeline.contracts import codec
from pipeline.contracts.identity import batch_id, page_of
from pipeline.contracts.messages import Batch, Result, Rows
from pipeline.contracts.records import Record
from pipeline.errors import Invalid, TooSlow
from pipeline.ledger import runs
from pipeline.postgres import Connection, database_errors, queries
from pipeline.topic_reader import OffsetRange, TopicReader
from sink.assembly import ReceivedResult, read_result
from sink.write_parts import write_in_parts
from sink.writer import Applied, Writer

BATCH_BYTES = 16_000_000
_SQL = queries("maintenance", "replay.sql")


@dataclass(frozen=True)
class Selection:
    """Which results to write: by the time of the message (`since`, `until`), property and day. None and (): all."""

    since: datetime | None = None
    until: datetime | None = None
    properties: tuple[str, ...] = ()
    start: date | None = None
    end: date | None = None

    def matches(self, batch: Batch) -> bool:
        """Return whether results of this batch are selected."""
        return (
            (not self.properties or batch.property in self.properties)
            and (self.start is None or batch.date >= self.start)
            and (self.end is None or batch.date <= self.end)
        )


@dataclass(frozen=True)
class ReplayRun:
    """The run of a replay with a new generation, so that the replayed results overwrite newer rows."""

    run_id: str
    generation: int

    def apply(self, message: Result) -> Result:
        """Return the message with this run, its generation, and the batch id that follows from it."""
        batch = message.batch
        page = page_of(batch)._replace(generation=self.generation)
        new = msgspec.structs.replace(batch, batch_id=batch_id(page), run_id=self.run_id, generation=self.generation)
        return msgspec.structs.replace(message, batch=new)


@dataclass
class ReplayCounts:
    """Counts of a replay. `rows_written` are new or changed rows; the other rows existed already.

    `pages_refetched` were unchanged, and the rows that they were compared with are not in the table: they are pending.
    """

    messages: int = 0
    selected: int = 0
    unreadable: int = 0
    unstorable: int = 0
    pages: int = 0
    pages_refetched: int = 0
    rows: int = 0
    rows_written: int = 0
    rows_deleted: int = 0
    days: int = 0
    rows_by_property: dict[str, int] = field(default_factory=dict)

    def add(self, applied: Applied) -> None:
        """Add the counts of a transaction."""
        self.pages += applied.pages
        self.pages_refetched += applied.refetched
        self.rows_written += applied.written
        self.rows_deleted += applied.deleted
        self.days += applied.days


OnProgress = Callable[[ReplayCounts], None]


class Replay:
    """One replay. After an interruption the same selection continues; after its end it starts again."""

    def __init__(self, selection: Selection, generation: ReplayRun | None, writer: Writer | None) -> None:
        self._selection = selection
        self._generation = generation
        self._writer = writer
        """None for a dry run, which only counts."""

    @property
    def name(self) -> str:
        """The name of the replay: equal for equal selections."""
        key = msgspec.json.encode((msgspec.to_builtins(self._selection), self._generation is not None))
        return blake2b(key, digest_size=8).hexdigest()

    async def run(
        self, reader: TopicReader, ranges: Mapping[int, OffsetRange], conn: Connection, on_progress: OnProgress
    ) -> ReplayCounts:
        """Read the ranges and write the selected results.

        Raises Retryable when a server cannot be reached any more: the same replay can continue later.
        """
        counts = ReplayCounts()
        waiting: list[Record] = []
        waiting_bytes = 0
        async for records in reader.records(ranges):
            waiting += records
            waiting_bytes += sum(len(record.value or b"") for record in records)
            if waiting_bytes >= BATCH_BYTES:
                await self._write(waiting, counts, conn)
                waiting, waiting_bytes = [], 0
                on_progress(counts)
        await self._write(waiting, counts, conn)
        on_progress(counts)
        return counts

    async def _write(self, records: list[Record], counts: ReplayCounts, conn: Connection) -> None:
        counts.messages += len(records)
        received = list(self._selected(records, counts))
        if self._writer is None:
            return
        if received:
            await runs.restore_runs(conn, (item.message.batch for item in received), now())
            await self._write_received(self._writer, received, counts)
        ends = {record.partition: record.offset + 1 for record in records}
        await save_progress(conn, self.name, ends)

    @staticmethod
    async def _write_received(writer: Writer, received: list[ReceivedResult], counts: ReplayCounts) -> None:
        async def write(part: list[ReceivedResult]) -> None:
            counts.add(await writer.write(part))

        async def refuse(_: ReceivedResult, error: Invalid | TooSlow) -> None:
            if isinstance(error, TooSlow):
                raise error
            counts.unstorable += 1  # the sink has dead-lettered it

        await write_in_parts(received, write, refuse)

    def _selected(self, records: Iterable[Record], counts: ReplayCounts) -> Iterable[ReceivedResult]:
        for record in records:
            try:
                result = read_result(record)
            except Invalid:
                counts.unreadable += 1
                continue
            if self._selection.matches(result.message.batch):
                self._count(result.message, counts)
                yield self._with_generation(result)

    @staticmethod
    def _count(message: Result, counts: ReplayCounts) -> None:
        counts.selected += 1
        if isinstance(message, Rows):
            counts.rows += len(message.clicks)
            name = message.batch.property
            counts.rows_by_property[name] = counts.rows_by_property.get(name, 0) + len(message.clicks)

    def _with_generation(self, result: ReceivedResult) -> ReceivedResult:
        if self._generation is None:
            return result
        message = self._generation.apply(result.message)
        return ReceivedResult(result.record._replace(value=codec.encode(message)), message)


async def begin(conn: Connection, name: str, ranges: Mapping[int, OffsetRange]) -> dict[int, OffsetRange]:
    """Return the ranges that an interrupted replay of this name has left, or record those of a new one."""
    async with database_errors(), conn.transaction():
        rows = await (await conn.execute(_SQL["remaining"], {"replay": name})).fetchall()
        remaining = {number: OffsetRange(start, end) for number, start, end in rows if start < end}
        if remaining:
            return remaining
        columns = {
            "partitions": list(ranges),
            "starts": [offsets.start for offsets in ranges.values()],
            "ends": [offsets.end for offsets in ranges.values()],
        }
        await conn.execute(_SQL["forget"], {"replay": name})
        await conn.execute(_SQL["begin"], {"replay": name, **columns})
        return dict(ranges)


async def save_progress(conn: Connection, name: str, ends: Mapping[int, int]) -> None:
    """Record that everything before these offsets is written."""
    async with database_errors():
        columns = {"partitions": list(ends), "offsets": list(ends.values())}
        await conn.execute(_SQL["progress"], {"replay": name, **columns})


async def finish(conn: Connection, name: str) -> None:
    """Forget the replay, so that the same selection starts again."""
    async with database_errors():
        await conn.execute(_SQL["forget"], {"replay": name})


async def begin_generation(conn: Connection, name: str) -> ReplayRun:
    """Create a run for the replay, with the newest generation."""
    moment = now()
    return ReplayRun(*await runs.create_replay_run(conn, f"replay-{name}-{round(moment.timestamp() * 1000)}", moment))
