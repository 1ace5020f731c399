"""The sink: collects results, writes them in batches, and commits to Kafka what PostgreSQL has."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from pipeline.clock import monotonic
from pipeline.consumer_group import AssignedPartition, OffsetCommit
from pipeline.contracts.messages import Batch
from pipeline.contracts.records import Record
from pipeline.dead_letter_limit import DeadLetterLimit
from pipeline.dead_letters import DeadLetter
from pipeline.errors import Invalid, Retryable
from pipeline.ledger.runs import RunKey, run_of
from pipeline.log import logger
from pipeline.metrics import histogram
from pipeline.process import sleep_or_stop
from sink.assembly import ReceivedResult, read_result
from sink.writer import Applied, write_separately

SERVICE: Final = "sink"
CHECK_EVERY_S = 0.25
RECONNECT_S = 1.0

_log = logger(__name__)


class Member(Protocol):
    """The membership in the consumer group."""

    async def commit(self, commits: Sequence[OffsetCommit]) -> None:
        """Commit offsets. Raises Retryable."""


class ResultWriter(Protocol):
    """Writes results to PostgreSQL."""

    async def unknown_runs(self, received: Sequence[ReceivedResult]) -> set[RunKey]:
        """Return the runs that the ledger does not have with the generation of these results."""

    async def write(self, received: list[ReceivedResult]) -> Applied:
        """Write in one transaction. Raises Retryable or Invalid."""


class DeadLetterSender(Protocol):
    """Publishes dead letters."""

    async def __call__(self, letter: DeadLetter) -> None:
        """Return after the acknowledgement. Raises Retryable."""


OpenWriter = Callable[[], AbstractAsyncContextManager[ResultWriter]]


@dataclass(frozen=True)
class BatchSize:
    """When a batch is full, in bytes, and how long it waits for more results, in seconds."""

    max_bytes: int
    linger_s: float


class Sink:
    """The handler of the partitions of `gsc.results`."""

    def __init__(
        self,
        member: Member,
        size: BatchSize,
        open_writer: OpenWriter,
        send_dead_letter: DeadLetterSender,
        limit: DeadLetterLimit,
    ) -> None:
        self._member = member
        self._size = size
        self._open_writer = open_writer
        self._send_dead_letter = send_dead_letter
        self._limit = limit
        self._queue: deque[Record] = deque()
        self._queued_bytes = 0
        self._paused = False
        self._partitions: set[int] = set()
        self._written_until: dict[int, int] = {}
        """The offset to commit, by partition."""
        self._dead: defaultdict[int, set[int]] = defaultdict(set)
        """Dead-lettered offsets of the batch in progress: a retry of the batch must not dead-letter them again."""
        self._arrived = asyncio.Event()
        self._writing = asyncio.Lock()
        self.connected = False
        """Whether PostgreSQL is connected; for the readiness probe."""

    # The side of the consumer group

    async def assigned(self, partitions: Sequence[AssignedPartition]) -> None:
        """Accept the records of these partitions."""
        self._partitions.update(item.partition for item in partitions)

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Wait for the transaction in progress, commit what is written, and forget what was only read."""
        async with self._writing:
            self._forget(partitions)
        await self._commit()
        for partition in partitions:
            self._written_until.pop(partition, None)

    def lost(self, partitions: Sequence[int]) -> None:
        """Forget partitions at once. Their new owner writes the same results again, which changes nothing."""
        self._forget(partitions)
        for partition in partitions:
            self._written_until.pop(partition, None)

    def _forget(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            self._limit.forget(partition)
            self._dead.pop(partition, None)
        self._partitions.difference_update(partitions)
        self._queue = deque(record for record in self._queue if record.partition in self._partitions)
        self._queued_bytes = sum(map(_size, self._queue))

    async def receive(self, records: Sequence[Record]) -> None:
        """Queue records."""
        self._queue.extend(records)
        self._queued_bytes += sum(map(_size, records))
        self._arrived.set()

    def wants_more(self) -> bool:
        """Return whether to continue reading: until two batches are queued, and again below one."""
        limit = self._size.max_bytes * (1 if self._paused else 2)
        self._paused = self._queued_bytes >= limit
        return not self._paused

    # The side of PostgreSQL

    async def run(self, stop: asyncio.Event) -> None:
        """Write until `stop`. Reconnects while PostgreSQL is away."""
        while not stop.is_set():
            try:
                async with self._open_writer() as writer:
                    self.connected = True
                    await self._write_until(stop, writer)
            except Retryable as error:
                _log.warning("postgres_unreachable", error=str(error), retry_s=RECONNECT_S)
                await sleep_or_stop(stop, RECONNECT_S)
            finally:
                self.connected = False

    async def _write_until(self, stop: asyncio.Event, writer: ResultWriter) -> None:
        while not stop.is_set():
            if not await self._has_records():
                continue
            if self._queued_bytes < self._size.max_bytes:
                await sleep_or_stop(stop, self._size.linger_s)
            async with self._writing:
                await self._write_batch(writer)
            try:
                await self._commit()
            except Retryable as error:  # the next commit includes it; at worst the batch is read again
                _log.warning("commit_failed", error=str(error))

    async def _has_records(self) -> bool:
        self._arrived.clear()
        if self._queue:
            return True
        try:
            async with asyncio.timeout(CHECK_EVERY_S):
                await self._arrived.wait()
        except TimeoutError:
            return False
        return bool(self._queue)

    async def _write_batch(self, writer: ResultWriter) -> None:
        """Write one batch. Its records leave the queue when each is in PostgreSQL or dead-lettered."""
        batch = self._next_batch()
        if not batch:
            return
        began = monotonic()
        readable = await self._readable(batch)
        unknown = await writer.unknown_runs(readable)
        for item in [item for item in readable if run_of(item.message.batch) in unknown]:
            error = "the ledger has no run with this id and generation"
            await self._dead_letter(item.record, "unknown_run", error, item.message.batch)
        await self._write(writer, [item for item in readable if run_of(item.message.batch) not in unknown])
        histogram("gsc_transaction_seconds").observe(monotonic() - began)
        self._mark_written(batch)

    def _next_batch(self) -> list[Record]:
        batch: list[Record] = []
        size = 0
        for record in self._queue:
            size += _size(record)
            if batch and size > self._size.max_bytes:
                break
            batch.append(record)
        return batch

    def _mark_written(self, batch: list[Record]) -> None:
        for record in batch:
            if record.partition in self._partitions:
                until = self._written_until.get(record.partition, 0)
                self._written_until[record.partition] = max(until, record.offset + 1)
            if self._queue and self._queue[0] is record:
                self._queued_bytes -= _size(self._queue.popleft())
        self._dead.clear()

    async def _readable(self, batch: list[Record]) -> list[ReceivedResult]:
        decoded = await asyncio.to_thread(lambda: [_decode(record) for record in batch])
        readable: list[ReceivedResult] = []
        for record, result in zip(batch, decoded, strict=True):
            if isinstance(result, ReceivedResult):
                readable.append(result)
            else:
                await self._dead_letter(record, "undecodable", str(result))
        return readable

    async def _write(self, writer: ResultWriter, received: list[ReceivedResult]) -> None:
        async def write(part: list[ReceivedResult]) -> None:
            await writer.write(part)
            for item in part:
                self._limit.done(item.record.partition)

        async def refused(item: ReceivedResult, error: Invalid) -> None:
            await self._dead_letter(item.record, "unstorable", str(error), item.message.batch)

        await write_separately(received, write, refused)

    async def _dead_letter(self, record: Record, reason: str, error: str, batch: Batch | None = None) -> None:
        """Dead-letter a record once, however often its batch is retried. Raises Fatal at the limit."""
        if record.offset in self._dead[record.partition]:
            return
        await self._send_dead_letter(DeadLetter(record, SERVICE, reason, error, batch=batch))
        self._dead[record.partition].add(record.offset)
        self._limit.dead(record.partition, f"{reason}: {error}")

    async def _commit(self) -> None:
        if self._written_until:
            commits = [OffsetCommit(partition, offset) for partition, offset in self._written_until.items()]
            await self._member.commit(commits)


def _decode(record: Record) -> ReceivedResult | Invalid:
    try:
        return read_result(record)
    except Invalid as error:
        return error


def _size(record: Record) -> int:
    return len(record.value or b"")
