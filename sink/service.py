"""The sink: collects results, writes them in batches, commits to Kafka what PostgreSQL has."""

import asyncio
from collections import deque
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
from sink.writer import Applied, write_apart

SERVICE: Final = "sink"
LOOK_AGAIN_S = 0.25
RECONNECT_S = 1.0

_log = logger(__name__)


class Member(Protocol):
    """Our membership in the group."""

    async def commit(self, commits: Sequence[OffsetCommit]) -> None:
        """OffsetCommit. Raises Retryable."""


class Writing(Protocol):
    """The database."""

    async def unknown_runs(self, received: Sequence[ReceivedResult]) -> set[RunKey]:
        """Runs, with their generation, that the ledger does not know."""

    async def write(self, received: list[ReceivedResult]) -> Applied:
        """Write in one transaction. Raises Retryable, or Invalid."""


class DeadLetterSender(Protocol):
    """The dead letters."""

    async def __call__(self, letter: DeadLetter) -> None:
        """Returns once the broker has it. Raises Retryable."""


Opening = Callable[[], AbstractAsyncContextManager[Writing]]


@dataclass(frozen=True)
class BatchSize:
    """When a batch is full, in bytes, and how long it waits for more, in seconds."""

    max_bytes: int
    linger_s: float


class Sink:
    """The assignee of the partitions of `gsc.results`."""

    def __init__(
        self,
        member: Member,
        size: BatchSize,
        open_writer: Opening,
        publish: DeadLetterSender,
        limit: DeadLetterLimit,
    ) -> None:
        self._member = member
        self._size = size
        self._bound = limit
        self._open_writer = open_writer
        self._bury = publish
        self._queue: deque[Record] = deque()
        self._queued_bytes = 0
        self._full = False
        self._held: set[int] = set()
        self._done: dict[int, int] = {}
        self._arrived = asyncio.Event()
        self._busy = asyncio.Lock()
        self.connected = False
        """Whether PostgreSQL is there, for the readiness probe."""

    async def assigned(self, claims: Sequence[AssignedPartition]) -> None:
        """Nothing is kept of a partition but what was read."""
        self._held.update(claim.partition for claim in claims)

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Let the transaction under way end, commit it, forget what was only read."""
        self._forget(partitions)
        async with self._busy:
            pass
        await self._commit()
        for partition in partitions:
            self._done.pop(partition, None)

    def lost(self, partitions: Sequence[int]) -> None:
        """Forget: whoever has them writes the same again, which changes nothing."""
        self._forget(partitions)
        for partition in partitions:
            self._done.pop(partition, None)

    def _forget(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            self._bound.forget(partition)
        self._held.difference_update(partitions)
        self._queue = deque(record for record in self._queue if record.partition in self._held)
        self._queued_bytes = sum(map(_bytes, self._queue))

    async def receive(self, records: Sequence[Record]) -> None:
        """Queue what was read."""
        self._queue.extend(records)
        self._queued_bytes += sum(map(_bytes, records))
        self._arrived.set()

    def wants_more(self) -> bool:
        """Read on until two batches wait, and again when less than one does."""
        limit = self._size.max_bytes * (1 if self._full else 2)
        self._full = self._queued_bytes >= limit
        return not self._full

    async def run(self, stop: asyncio.Event) -> None:
        """Write until `stop`; PostgreSQL may go and come back."""
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

    async def _write_until(self, stop: asyncio.Event, writer: Writing) -> None:
        while not stop.is_set():
            if not await self._has_arrived():
                continue
            if self._queued_bytes < self._size.max_bytes:
                await sleep_or_stop(stop, self._size.linger_s)
            async with self._busy:
                await self._write_next(writer)
            try:
                await self._commit()
            except Retryable as error:  # the next commit tells it; at worst the batch is read once more
                _log.warning("commit_failed", error=str(error))

    async def _has_arrived(self) -> bool:
        self._arrived.clear()
        if self._queue:
            return True
        try:
            async with asyncio.timeout(LOOK_AGAIN_S):
                await self._arrived.wait()
        except TimeoutError:
            return False
        return bool(self._queue)

    async def _write_next(self, writer: Writing) -> None:
        """Write one batch; it leaves the queue's front only when it is in the database or in the dead letters."""
        batch = self._front()
        if not batch:
            return
        began = monotonic()
        readable = await self._readable(batch)
        unknown = await writer.unknown_runs(readable)
        for item in [item for item in readable if run_of(item.message.batch) in unknown]:
            error = "the ledger has no run of this id and generation"
            await self._dead(item.record, "unknown_run", error, item.message.batch)
        await self._write(writer, [item for item in readable if run_of(item.message.batch) not in unknown])
        histogram("gsc_transaction_seconds").observe(monotonic() - began)
        self._written(batch)

    def _front(self) -> list[Record]:
        batch: list[Record] = []
        size = 0
        for record in self._queue:
            size += _bytes(record)
            if batch and size > self._size.max_bytes:
                break
            batch.append(record)
        return batch

    def _written(self, batch: list[Record]) -> None:
        for record in batch:
            if record.partition in self._held:
                self._done[record.partition] = max(self._done.get(record.partition, 0), record.offset + 1)
            if self._queue and self._queue[0] is record:
                self._queued_bytes -= _bytes(self._queue.popleft())

    async def _readable(self, batch: list[Record]) -> list[ReceivedResult]:
        decoded = await asyncio.to_thread(lambda: [_decoded(record) for record in batch])
        readable: list[ReceivedResult] = []
        for record, result in zip(batch, decoded, strict=True):
            if isinstance(result, ReceivedResult):
                readable.append(result)
            else:
                await self._dead(record, "undecodable", str(result))
        return readable

    async def _write(self, writer: Writing, received: list[ReceivedResult]) -> None:
        async def write(part: list[ReceivedResult]) -> None:
            await writer.write(part)
            for item in part:
                self._bound.done(item.record.partition)

        async def unstorable(item: ReceivedResult, error: Invalid) -> None:
            await self._dead(item.record, "unstorable", str(error), item.message.batch)

        await write_apart(received, write, unstorable)

    async def _dead(self, record: Record, reason: str, error: str, batch: Batch | None = None) -> None:
        await self._bury(DeadLetter(record, SERVICE, reason, error, batch=batch))
        self._bound.dead(record.partition, f"{reason}: {error}")

    async def _commit(self) -> None:
        if self._done:
            await self._member.commit([OffsetCommit(partition, offset) for partition, offset in self._done.items()])


def _decoded(record: Record) -> ReceivedResult | Invalid:
    try:
        return read_result(record)
    except Invalid as error:
        return error


def _bytes(record: Record) -> int:
    return len(record.value or b"")
