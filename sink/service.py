"""The sink: collects results, writes them in batches, and commits to Kafka what PostgreSQL has."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final, Protocol

from pipeline.clock import monotonic
from pipeline.contracts.messages import Batch
from pipeline.contracts.records import Record
from pipeline.dead_letter_limit import DeadLetterLimit
from pipeline.dead_letters import DeadLetter
from pipeline.errors import Fatal, Invalid, Retryable, TooSlow
from pipeline.ledger.runs import RunKey, run_of
from pipeline.log import batch_fields, logger
from pipeline.metrics import counter, histogram
from pipeline.offsets import AssignedPartition, OffsetCommit
from pipeline.process import event_or_timeout
from pipeline.watchdog import Heartbeat
from sink.assembly import ReceivedResult, Texts
from sink.batch import NOTHING, PreparedBatch, prepare
from sink.queue import BatchSize, ResultQueue
from sink.write_parts import write_in_parts
from sink.writer import Applied

SERVICE: Final = "sink"
STOP_CHECK_S = 0.25
RETRY_S = 1.0

_log = logger(__name__)


class Member(Protocol):
    """The membership in the consumer group."""

    async def commit(self, commits: Sequence[OffsetCommit]) -> None:
        """Commit offsets. Raises Retryable."""


class ResultWriter(Protocol):
    """Writes results to PostgreSQL."""

    async def probe(self) -> None:
        """Ask PostgreSQL something if it has not been asked lately. Raises Retryable when it has gone away."""

    async def unknown_runs(self, received: Sequence[ReceivedResult]) -> set[RunKey]:
        """Return the runs that the ledger does not have with the generation of these results."""

    def format_pages(self, received: Sequence[ReceivedResult]) -> Texts:
        """Return the text of the pages that are complete. It runs in a thread, also during a transaction."""

    async def write(self, received: list[ReceivedResult], texts: Texts) -> Applied:
        """Write in one transaction. Raises Retryable or Invalid."""


class DeadLetterSender(Protocol):
    """Publishes dead letters."""

    async def __call__(self, dead_letter: DeadLetter, /) -> None:
        """Return after the acknowledgement. Raises Retryable."""


OpenWriter = Callable[[], AbstractAsyncContextManager[ResultWriter]]


@dataclass
class Progress:
    """How far the sink is in a partition, for the time of one assignment.

    A transaction that outlives the assignment advances this object, and not that of a later assignment.
    """

    next_offset: int | None = None
    """The offset to commit: every message before it is in PostgreSQL or dead-lettered. None before the first batch."""
    dead_lettered: set[int] = field(default_factory=set)
    """Dead-lettered offsets of the batch in progress: a retry of the batch skips them."""

    def advance(self, offset: int) -> None:
        """Record that the message at this offset is processed."""
        self.next_offset = offset + 1
        self.dead_lettered.discard(offset)


class Sink:
    """The handler of the partitions of `gsc.results`."""

    def __init__(
        self,
        member: Member,
        size: BatchSize,
        open_writer: OpenWriter,
        send_dead_letter: DeadLetterSender,
        limit: DeadLetterLimit,
        heartbeat: Heartbeat,
    ) -> None:
        self._member = member
        self._linger_s = size.linger_s
        self._open_writer = open_writer
        self._send_dead_letter = send_dead_letter
        self._limit = limit
        self._heartbeat = heartbeat
        self._queue = ResultQueue(size.max_bytes)
        self._partitions: dict[int, Progress] = {}
        self._writing = asyncio.Lock()
        """Locked during a transaction."""
        self.connected = False
        """Whether PostgreSQL is connected; for the readiness probe."""

    # The side of the consumer group

    async def assigned(self, partitions: Sequence[AssignedPartition]) -> None:
        """Accept the records of these partitions."""
        self._partitions.update({item.partition: Progress() for item in partitions})

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Drop what was only read, wait for the transaction in progress, and commit what is written.

        Raises Retryable when the commit fails: the next owner writes the same results again, which changes nothing.
        """
        removed = self._remove(partitions)
        async with self._writing:
            pass
        self._reset_limit(partitions)
        await self._commit(removed)

    def lost(self, partitions: Sequence[int]) -> None:
        """Drop the partitions without a commit. Their new owner writes the same results again."""
        self._remove(partitions)
        self._reset_limit(partitions)

    def _remove(self, partitions: Sequence[int]) -> dict[int, Progress]:
        removed = {number: self._partitions.pop(number) for number in partitions if number in self._partitions}
        self._queue.keep(self._partitions.keys())
        return removed

    def _reset_limit(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            self._limit.reset(partition)

    async def receive(self, records: Sequence[Record]) -> None:
        """Queue records."""
        self._queue.add(records)

    def wants_more(self) -> bool:
        """Return whether to continue reading."""
        return self._queue.wants_more()

    # The side of PostgreSQL

    async def run(self, stop: asyncio.Event) -> None:
        """Write until `stop`. After a Retryable error, connect to PostgreSQL again and retry the batch."""
        while not stop.is_set():
            self._heartbeat.beat(monotonic())
            try:
                async with self._open_writer() as writer:
                    self.connected = True
                    await self._write_until(stop, writer)
            except Retryable as error:
                _log.warning("write_failed", error=str(error), retry_s=RETRY_S)
                await event_or_timeout(stop, RETRY_S)
            finally:
                self.connected = False

    async def _write_until(self, stop: asyncio.Event, writer: ResultWriter) -> None:
        """Write batch after batch. During a transaction, the next is prepared and the one before committed to Kafka."""
        ahead = committing = None
        try:
            while not stop.is_set():
                self._heartbeat.beat(monotonic())
                if not await self._has_records():
                    await writer.probe()
                    continue
                batch = self._live(await self._next(writer, ahead))
                # Taken before anything is awaited: a revocation would change which records follow those of the batch.
                following = self._queue.batch(len(batch.records))
                ahead = asyncio.create_task(self._prepare(writer, following))
                async with self._writing:
                    await self._write_batch(writer, self._live(batch))
                await _finished(committing)
                committing = asyncio.create_task(self._commit_written())
        finally:
            if ahead:
                ahead.cancel()
            await _finished(committing)

    async def _has_records(self) -> bool:
        self._queue.arrived.clear()
        if not self._queue:
            await event_or_timeout(self._queue.arrived, STOP_CHECK_S)
        return bool(self._queue)

    async def _next(self, writer: ResultWriter, ahead: asyncio.Task[PreparedBatch] | None) -> PreparedBatch:
        """Return what was prepared ahead, or else prepare what is queued by now."""
        batch = self._live(await ahead) if ahead else NOTHING
        if not batch.records:
            batch = await self._prepare(writer, self._queue.batch(0))
        if not batch.records:  # parts of pages only
            await event_or_timeout(self._queue.arrived, self._linger_s)
            batch = await self._prepare(writer, self._queue.batch(0), hold=False)
        return batch

    async def _prepare(self, writer: ResultWriter, records: Sequence[Record], *, hold: bool = True) -> PreparedBatch:
        """Decode and format records in a thread."""
        return await asyncio.to_thread(prepare, records, writer.format_pages, hold=hold)

    def _live(self, batch: PreparedBatch) -> PreparedBatch:
        """Return the batch without the records that were revoked: those that are not queued any more."""
        return batch.only(self._queue.head(len(batch.records)))

    async def _write_batch(self, writer: ResultWriter, batch: PreparedBatch) -> None:
        """Write one batch. Its records leave the queue when each is in PostgreSQL or dead-lettered."""
        began = monotonic()
        progress = dict(self._partitions)
        try:
            readable = await self._readable(batch, progress)
        except Fatal:
            await self._commit_dead_lettered(batch.records, progress)
            raise
        unknown = await writer.unknown_runs(readable)
        for item in [item for item in readable if run_of(item.message.batch) in unknown]:
            error = "the ledger has no run with this id and generation"
            await self._dead_letter(item.record, "unknown_run", error, item.message.batch)
        known = [item for item in readable if run_of(item.message.batch) not in unknown]
        await self._write(writer, known, batch.texts)
        histogram("gsc_transaction_seconds").observe(monotonic() - began)
        self._finish(batch.records, progress)

    def _finish(self, batch: Sequence[Record], progress: Mapping[int, Progress]) -> None:
        """Advance the partitions past the batch, and remove it from the queue, where revoked records are gone."""
        for record in batch:
            progress[record.partition].advance(record.offset)
            self._queue.remove(record)

    async def _commit_dead_lettered(self, records: Sequence[Record], progress: Mapping[int, Progress]) -> None:
        """Commit what was dead-lettered at the head of a batch: a restarted process goes on behind it."""
        done = takewhile(lambda record: record.offset in progress[record.partition].dead_lettered, records)
        self._finish(list(done), progress)
        await self._commit_written()

    async def _readable(self, batch: PreparedBatch, progress: Mapping[int, Progress]) -> list[ReceivedResult]:
        """Return the decoded results; dead-letter the records that cannot be decoded. Raises Fatal at the limit."""
        readable: list[ReceivedResult] = []
        for record, result in zip(batch.records, batch.decoded, strict=True):
            if record.offset in progress[record.partition].dead_lettered:
                continue
            if isinstance(result, ReceivedResult):
                readable.append(result)
            else:
                await self._dead_letter(record, "undecodable", str(result))
                # Not a fault of one tenant, whose results must not stop those of the others.
                self._limit.record_dead(record.partition, f"undecodable: {result}")
        return readable

    async def _write(self, writer: ResultWriter, received: list[ReceivedResult], texts: Texts) -> None:
        async def write(part: list[ReceivedResult]) -> None:
            await writer.write(part, texts)
            for item in part:
                self._limit.record_done(item.record.partition)

        async def record_failure(item: ReceivedResult, error: Invalid | TooSlow) -> None:
            if isinstance(error, Invalid):
                await self._dead_letter(item.record, "unstorable", str(error), item.message.batch)
                return
            # Nothing is wrong with the page, which stays published: the producer publishes it again as a lost one.
            counter("gsc_slow_results_total").inc()
            _log.warning("result_too_slow", error=str(error), **batch_fields(item.message.batch))

        await write_in_parts(received, write, record_failure)

    async def _dead_letter(self, record: Record, reason: str, error: str, batch: Batch | None = None) -> None:
        """Dead-letter a record, and remember it for retries of its batch."""
        await self._send_dead_letter(DeadLetter(record, SERVICE, reason, error, batch=batch))
        if progress := self._partitions.get(record.partition):
            progress.dead_lettered.add(record.offset)

    async def _commit_written(self) -> None:
        try:
            await self._commit(self._partitions)
        except Retryable as error:  # the next commit includes it; at worst the batch is read again
            _log.warning("commit_failed", error=str(error))

    async def _commit(self, partitions: Mapping[int, Progress]) -> None:
        commits = [
            OffsetCommit(number, progress.next_offset)
            for number, progress in partitions.items()
            if progress.next_offset is not None
        ]
        if commits:
            await self._member.commit(commits)


async def _finished(task: asyncio.Task[None] | None) -> None:
    if task:
        await task
