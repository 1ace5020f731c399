"""The sink's handler of results, with Kafka and PostgreSQL in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from pipeline.consumer_group import AssignedPartition, OffsetCommit
from pipeline.contracts import codec
from pipeline.contracts.records import Record
from pipeline.dead_letter_limit import DeadLetterLimit
from pipeline.dead_letters import DeadLetter
from pipeline.errors import Fatal, Invalid, PipelineError, Retryable
from pipeline.ledger.runs import RunKey, run_of
from sink import service as service_module
from sink.assembly import ReceivedResult
from sink.service import BatchSize, Sink
from sink.writer import Applied
from support.examples import a_batch, some_rows
from support.wait import until


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHECK_EVERY_S", "RECONNECT_S"):
        monkeypatch.setattr(service_module, name, 0.001)


class World:
    """The group, PostgreSQL and the dead-letter topic."""

    def __init__(self) -> None:
        self.written: list[list[int]] = []
        self.committed: list[list[OffsetCommit]] = []
        self.dead: list[tuple[int, str]] = []
        self.errors: list[PipelineError] = []
        self.unstorable: set[int] = set()
        self.unknown: set[str] = set()
        self.commit_errors: list[Retryable] = []
        self.connections = 0
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.writing = False

    @asynccontextmanager
    async def open_writer(self) -> AsyncIterator["World"]:
        self.connections += 1
        yield self

    async def unknown_runs(self, received: Sequence[ReceivedResult]) -> set[RunKey]:
        runs = {run_of(item.message.batch) for item in received}
        return {run for run in runs if run.run_id in self.unknown}

    async def write(self, received: list[ReceivedResult]) -> Applied:
        self.writing = True
        await self.may_write.wait()
        self.writing = False
        if self.errors:
            raise self.errors.pop(0)
        if self.unstorable & {item.record.offset for item in received}:
            raise Invalid("PostgreSQL: value out of range")
        self.written.append([item.record.offset for item in received])
        return Applied(pages=len(received))

    async def send_dead_letter(self, letter: DeadLetter) -> None:
        self.dead.append((letter.record.offset, letter.reason))

    async def commit(self, commits: Sequence[OffsetCommit]) -> None:
        if self.commit_errors:
            raise self.commit_errors.pop(0)
        self.committed.append(list(commits))

    @property
    def offsets(self) -> list[int]:
        return [offset for batch in self.written for offset in batch]


async def a_sink(world: World, *, max_bytes: int = 1_000_000, limit: int = 100) -> Sink:
    size = BatchSize(max_bytes, linger_s=0.0)
    sink = Sink(world, size, world.open_writer, world.send_dead_letter, DeadLetterLimit(limit, 1.0))
    await sink.assigned([AssignedPartition(0, 0, ""), AssignedPartition(1, 0, "")])
    return sink


def a_record(offset: int, *, partition: int = 0, value: bytes | None = None, run: str = "run-1") -> Record:
    rows = some_rows(a_batch(start_row=25_000 * offset, run_id=run), ["a"])
    return Record("gsc.results", partition, offset, b"k", codec.encode(rows) if value is None else value, 0)


async def run_until(sink: Sink, condition: Callable[[], bool]) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(sink.run(stop))
    try:
        await until(lambda: condition() or task.done(), 5, "the condition of the test")
    finally:
        stop.set()
        await task


async def test_results_are_written_and_then_committed() -> None:
    world = World()
    sink = await a_sink(world)
    await sink.receive([a_record(0), a_record(1), a_record(5, partition=1)])
    await run_until(sink, lambda: bool(world.committed))
    assert sorted(world.offsets) == [0, 1, 5]
    assert sorted(world.committed[-1]) == [OffsetCommit(0, 2), OffsetCommit(1, 6)]


async def test_a_batch_is_limited_by_bytes() -> None:
    world = World()
    sink = await a_sink(world, max_bytes=2 * len(a_record(4).value or b""))
    await sink.receive([a_record(number) for number in range(5)])
    await run_until(sink, lambda: len(world.offsets) == 5)
    assert [len(batch) for batch in world.written] == [2, 2, 1]


async def test_a_record_larger_than_a_batch_is_written_alone() -> None:
    world = World()
    sink = await a_sink(world, max_bytes=1)
    await sink.receive([a_record(0), a_record(1)])
    await run_until(sink, lambda: len(world.offsets) == 2)
    assert world.written == [[0], [1]]


async def test_reading_pauses_at_two_batches_and_resumes_below_one() -> None:
    world = World()
    size = len(a_record(0).value or b"")
    sink = await a_sink(world, max_bytes=2 * size)
    assert sink.wants_more()
    await sink.receive([a_record(number) for number in range(4)])
    assert not sink.wants_more()
    await run_until(sink, lambda: len(world.offsets) >= 4)
    assert sink.wants_more()


async def test_postgresql_that_goes_away_costs_a_reconnect_and_no_row() -> None:
    world = World()
    world.errors = [Retryable("away"), Retryable("away")]
    sink = await a_sink(world)
    await sink.receive([a_record(0)])
    await run_until(sink, lambda: bool(world.committed))
    assert world.connections == 3
    assert world.offsets == [0]
    assert not sink.connected


async def test_a_failed_commit_is_repeated_with_the_next() -> None:
    world = World()
    world.commit_errors = [Retryable("rebalance")]
    sink = await a_sink(world)
    await sink.receive([a_record(0)])
    stop = asyncio.Event()
    task = asyncio.create_task(sink.run(stop))
    await until(lambda: world.offsets == [0], 5, "the first is written")
    await sink.receive([a_record(1)])
    await until(lambda: bool(world.committed), 5, "the commit succeeds")
    stop.set()
    await task
    assert world.committed[-1] == [OffsetCommit(0, 2)]


async def test_unprocessable_results_are_dead_lettered_and_the_others_written() -> None:
    world = World()
    world.unstorable = {2}
    world.unknown = {"nobody"}
    sink = await a_sink(world)
    await sink.receive([a_record(0), a_record(1, value=b"{}"), a_record(2), a_record(3, run="nobody"), a_record(4)])
    await run_until(sink, lambda: bool(world.committed))
    assert sorted(world.dead) == [(1, "undecodable"), (2, "unstorable"), (3, "unknown_run")]
    assert sorted(world.offsets) == [0, 4]
    assert world.committed[-1] == [OffsetCommit(0, 5)]


async def test_a_retried_batch_dead_letters_a_message_once() -> None:
    world = World()
    world.errors = [Retryable("deadlock") for _ in range(10)]
    sink = await a_sink(world, limit=5)
    await sink.receive([a_record(0, value=b"{}"), a_record(1)])
    await run_until(sink, lambda: bool(world.committed))
    assert world.dead == [(0, "undecodable")]
    assert world.offsets == [1]


async def test_too_many_dead_letters_end_the_service() -> None:
    world = World()
    sink = await a_sink(world, limit=3)
    await sink.receive([a_record(number, value=b"{}") for number in range(3)])
    with pytest.raises(Fatal, match="3 of the last 3 messages of partition 0"):
        await run_until(sink, lambda: False)


async def test_a_fatal_error_of_postgresql_ends_the_service() -> None:
    world = World()
    world.errors = [Fatal("permission denied")]
    sink = await a_sink(world)
    await sink.receive([a_record(0)])
    with pytest.raises(Fatal, match="permission denied"):
        await run_until(sink, lambda: False)


async def test_the_transaction_in_progress_is_committed_when_partitions_are_revoked() -> None:
    world = World()
    world.may_write.clear()
    sink = await a_sink(world, max_bytes=len(a_record(0).value or b""))
    await sink.receive([a_record(0), a_record(1)])
    stop = asyncio.Event()
    task = asyncio.create_task(sink.run(stop))
    await until(lambda: world.writing, 5, "the first transaction is in progress")
    stop.set()
    revoked = asyncio.create_task(sink.revoked([0, 1]))
    world.may_write.set()
    await revoked
    await task
    assert world.offsets == [0]  # what was only read is left to the next owner
    assert world.committed[-1] == [OffsetCommit(0, 1)]


async def test_lost_partitions_are_neither_written_further_nor_committed() -> None:
    world = World()
    world.may_write.clear()
    sink = await a_sink(world, max_bytes=len(a_record(0).value or b""))
    await sink.receive([a_record(0), a_record(1)])
    stop = asyncio.Event()
    task = asyncio.create_task(sink.run(stop))
    await until(lambda: world.writing, 5, "the first transaction is in progress")
    sink.lost([0])
    world.may_write.set()
    await until(lambda: world.offsets == [0], 5, "the transaction ends")
    stop.set()
    await task
    assert world.committed == []
