"""The sink's handler of results, with Kafka and PostgreSQL in memory."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from pipeline.contracts import codec
from pipeline.contracts.records import Record
from pipeline.dead_letter_limit import DeadLetterLimit
from pipeline.dead_letters import DeadLetter
from pipeline.errors import Fatal, Invalid, PipelineError, Retryable, TooSlow
from pipeline.ledger.runs import RunKey, run_of
from pipeline.metrics import counter
from pipeline.offsets import AssignedPartition, OffsetCommit
from pipeline.watchdog import Heartbeat
from sink import service as service_module
from sink.assembly import ReceivedResult, Texts
from sink.queue import BatchSize
from sink.service import RETRY_S, STOP_CHECK_S, Progress, Sink
from sink.writer import Applied
from support.examples import a_batch, some_rows
from support.wait import others_wait, until

LINGER_S = 7.0


class World:
    """The consumer group, PostgreSQL, the dead-letter topic, and the service's pauses."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.during_pause: Callable[[], Awaitable[None]] | None = None
        self.prepared: list[list[int]] = []
        self.written: list[list[int]] = []
        self.committed: list[list[OffsetCommit]] = []
        self.dead: list[tuple[int, str]] = []
        self.connect_errors: list[Retryable] = []
        self.errors: list[PipelineError] = []
        self.dead_letter_errors: list[Retryable] = []
        self.unstorable: set[int] = set()
        self.too_slow: set[int] = set()
        self.unknown: set[str] = set()
        self.commit_errors: list[Retryable] = []
        self.connections = 0
        self.probes = 0
        self.probe_errors: list[Retryable] = []
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.writing = False

    async def pause(self, event: asyncio.Event, seconds: float) -> bool:
        await others_wait()
        if seconds == STOP_CHECK_S:
            return event.is_set()
        self.pauses.append(seconds)
        if self.during_pause:
            await self.during_pause()
        return event.is_set()

    @asynccontextmanager
    async def open_writer(self) -> AsyncIterator["World"]:
        self.connections += 1
        if self.connect_errors:
            raise self.connect_errors.pop(0)
        yield self

    async def probe(self) -> None:
        self.probes += 1
        if self.probe_errors:
            raise self.probe_errors.pop(0)

    async def unknown_runs(self, received: Sequence[ReceivedResult]) -> set[RunKey]:
        runs = {run_of(item.message.batch) for item in received}
        return {run for run in runs if run.run_id in self.unknown}

    def format_pages(self, received: Sequence[ReceivedResult]) -> Texts:
        self.prepared.append([item.record.offset for item in received])
        return {}

    async def write(self, received: list[ReceivedResult], texts: Texts) -> Applied:
        self.writing = True
        await self.may_write.wait()
        self.writing = False
        if self.unstorable & {item.record.offset for item in received}:
            raise Invalid("PostgreSQL: value out of range")
        if self.too_slow & {item.record.offset for item in received}:
            raise TooSlow("PostgreSQL: canceling statement due to statement timeout")
        if self.errors:
            raise self.errors.pop(0)
        self.written.append([item.record.offset for item in received])
        return Applied(pages=len(received))

    async def send_dead_letter(self, dead_letter: DeadLetter) -> None:
        if self.dead_letter_errors:
            raise self.dead_letter_errors.pop(0)
        self.dead.append((dead_letter.record.offset, dead_letter.reason))

    async def commit(self, commits: Sequence[OffsetCommit]) -> None:
        if self.commit_errors:
            raise self.commit_errors.pop(0)
        self.committed.append(list(commits))

    @property
    def offsets(self) -> list[int]:
        return [offset for batch in self.written for offset in batch]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(service_module, "event_or_timeout", world.pause)
    return world


async def a_sink(world: World, *, max_bytes: int = 1_000_000, limit: int = 100) -> Sink:
    size = BatchSize(max_bytes, LINGER_S)
    sink = Sink(
        world,
        size,
        world.open_writer,
        world.send_dead_letter,
        DeadLetterLimit(limit, 1.0),
        Heartbeat("writer", 60.0, 0.0),
    )
    await sink.assigned([AssignedPartition(0, 0, ""), AssignedPartition(1, 0, "")])
    return sink


def a_record(offset: int, *, partition: int = 0, value: bytes | None = None, run: str = "run-1") -> Record:
    rows = some_rows(a_batch(start_row=25_000 * offset, run_id=run), ["a"])
    return Record("gsc.results", partition, offset, b"k", codec.encode(rows) if value is None else value, 0)


def a_chunk(number: int) -> Record:
    """One of two chunks of a page."""
    rows = some_rows(a_batch(), ["a"], chunk=number, chunks=2, page_rows=2)
    return Record("gsc.results", 0, number, b"k", codec.encode(rows), 0)


@asynccontextmanager
async def running(sink: Sink) -> AsyncIterator[asyncio.Task[None]]:
    """Run the service for the length of a block; raises its error."""
    stop = asyncio.Event()
    task = asyncio.create_task(sink.run(stop))
    try:
        yield task
    finally:
        stop.set()
        await task


async def run_until(sink: Sink, condition: Callable[[], bool]) -> None:
    async with running(sink) as task:
        await until(lambda: condition() or task.done(), 60, "the condition of the test")


async def revoking(sink: Sink, partitions: Sequence[int]) -> asyncio.Task[None]:
    """Begin to revoke partitions, as far as that goes during a transaction."""
    task = asyncio.create_task(sink.revoked(partitions))
    await until(lambda: sink._partitions.keys().isdisjoint(partitions), 60, "the revocation begins")
    return task


@asynccontextmanager
async def in_transaction(world: World, sink: Sink) -> AsyncIterator[None]:
    """Run the service; the block runs while the first transaction is in progress, and the service ends after it."""
    world.may_write.clear()
    async with running(sink):
        await until(lambda: world.writing, 60, "the first transaction is in progress")
        try:
            yield
        finally:
            world.may_write.set()
        await until(lambda: bool(world.written) and not sink._writing.locked(), 60, "the transaction ends")


async def test_an_idle_sink_probes_postgresql_and_connects_again_when_it_is_gone(world: World) -> None:
    world.probe_errors.append(Retryable("PostgreSQL: no answer within 21 s"))
    await run_until(await a_sink(world), lambda: world.connections == 2 and world.probes > 2)
    assert world.pauses == [RETRY_S]


async def test_results_are_written_and_then_committed(world: World) -> None:
    sink = await a_sink(world)
    await sink.receive([a_record(0), a_record(1), a_record(5, partition=1)])
    await run_until(sink, lambda: bool(world.committed))
    assert sorted(world.offsets) == [0, 1, 5]
    assert sorted(world.committed[-1]) == [OffsetCommit(0, 2), OffsetCommit(1, 6)]


async def test_nothing_is_committed_before_it_is_written(world: World) -> None:
    sink = await a_sink(world)
    await sink.receive([a_record(0)])
    async with in_transaction(world, sink):
        assert world.committed == []
    assert world.committed == [[OffsetCommit(0, 1)]]


async def test_a_batch_is_limited_by_bytes(world: World) -> None:
    sink = await a_sink(world, max_bytes=2 * len(a_record(4).value or b""))
    await sink.receive([a_record(number) for number in range(5)])
    await run_until(sink, lambda: len(world.offsets) == 5)
    assert [len(batch) for batch in world.written] == [2, 2, 1]


async def test_a_record_larger_than_a_batch_is_written_alone(world: World) -> None:
    sink = await a_sink(world, max_bytes=1)
    await sink.receive([a_record(0), a_record(1)])
    await run_until(sink, lambda: len(world.offsets) == 2)
    assert world.written == [[0], [1]]


async def test_an_idle_sink_writes_what_arrives_later(world: World) -> None:
    sink = await a_sink(world)
    async with running(sink):
        await until(lambda: sink.connected, 60, "the sink is connected")
        await sink.receive([a_record(0)])
        await until(lambda: bool(world.committed), 60, "the result is committed")
    assert world.offsets == [0]


async def test_a_part_of_a_page_waits_for_the_rest(world: World) -> None:
    sink = await a_sink(world)

    async def the_rest_arrives() -> None:
        world.during_pause = None
        await sink.receive([a_chunk(1)])

    world.during_pause = the_rest_arrives
    await sink.receive([a_chunk(0)])
    await run_until(sink, lambda: bool(world.committed))
    assert world.written == [[0, 1]]
    assert world.pauses == [LINGER_S]


async def test_a_part_of_a_page_is_written_when_the_rest_does_not_arrive(world: World) -> None:
    sink = await a_sink(world)
    await sink.receive([a_chunk(0)])
    await run_until(sink, lambda: bool(world.committed))
    assert world.written == [[0]]


async def test_whole_pages_do_not_wait(world: World) -> None:
    sink = await a_sink(world)
    await sink.receive([a_record(0)])
    await run_until(sink, lambda: bool(world.committed))
    assert world.pauses == []


async def test_the_next_batch_is_prepared_during_a_transaction(world: World) -> None:
    sink = await a_sink(world, max_bytes=2 * len(a_record(5).value or b""))
    await sink.receive([a_record(number) for number in range(6)])
    async with in_transaction(world, sink):
        await until(lambda: len(world.prepared) == 2, 5, "the next batch is prepared")
        assert world.written == []
    await run_until(sink, lambda: len(world.offsets) == 6)
    assert world.prepared[:2] == [[0, 1], [2, 3]]  # one batch ahead, and no more
    assert world.written == [[0, 1], [2, 3], [4, 5]]


async def test_a_batch_that_is_prepared_is_forgotten_when_its_partition_is_revoked(world: World) -> None:
    sink = await a_sink(world, max_bytes=len(a_record(0).value or b""))
    await sink.receive([a_record(0), a_record(1), a_record(7, partition=1)])
    async with in_transaction(world, sink):
        await until(lambda: len(world.prepared) == 2, 5, "the next batch is prepared")
        revoked = await revoking(sink, [0])
        world.may_write.set()
        await revoked
        await until(lambda: 7 in world.offsets, 5, "the other partition is written further")
    assert world.offsets == [0, 7]
    assert [OffsetCommit(0, 1)] in world.committed


class LosingWorld(World):
    """A world in which a partition is lost when the preparation with a number ends."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at
        self.lose: Callable[[], object] = lambda: None

    def format_pages(self, received: Sequence[ReceivedResult]) -> Texts:
        texts = super().format_pages(received)
        if len(self.prepared) == self.at:
            self.lose()
        return texts


@pytest.mark.parametrize("at", range(1, 6))
async def test_a_partition_that_is_lost_at_any_moment_takes_no_result_of_another_along(
    monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    world = LosingWorld(at)
    monkeypatch.setattr(service_module, "event_or_timeout", world.pause)
    records = [record for n in range(8) for record in (a_record(n), a_record(100 + n, partition=1))]
    sink = await a_sink(world, max_bytes=sum(len(record.value or b"") for record in records[:3]))
    loop = asyncio.get_running_loop()
    world.lose = lambda: loop.call_soon_threadsafe(sink.lost, [0])
    await sink.receive(records)
    async with running(sink):
        await until(
            lambda: [OffsetCommit(1, 108)] in [commits[-1:] for commits in world.committed], 20, "all is written"
        )
    assert [offset for offset in world.offsets if offset >= 100] == list(range(100, 108))
    assert [offset for offset in world.offsets if offset < 100] == sorted({*world.offsets} & {*range(100)})


async def test_a_batch_that_was_prepared_is_written_after_a_failed_one(world: World) -> None:
    sink = await a_sink(world, max_bytes=len(a_record(0).value or b""))
    world.errors = [Retryable("away")]
    await sink.receive([a_record(0), a_record(1)])
    async with running(sink):
        await until(lambda: len(world.offsets) == 2, 5, "both are written")
        await until(lambda: [OffsetCommit(0, 2)] in world.committed, 5, "both are committed")
    assert world.offsets == [0, 1]


async def test_reading_pauses_at_two_batches_and_resumes_below_one(world: World) -> None:
    size = len(a_record(0).value or b"")
    sink = await a_sink(world, max_bytes=2 * size)
    assert sink.wants_more()
    await sink.receive([a_record(number) for number in range(3)])
    assert sink.wants_more()
    await sink.receive([a_record(0, partition=1)])
    assert not sink.wants_more()
    await sink.revoked([1])
    assert not sink.wants_more()  # below two batches, not below one
    await run_until(sink, lambda: len(world.offsets) == 3)
    assert sink.wants_more()


async def test_an_error_of_postgresql_costs_a_reconnect_and_no_row(world: World) -> None:
    world.errors = [Retryable("away"), Retryable("away")]
    sink = await a_sink(world)
    await sink.receive([a_record(0)])
    await run_until(sink, lambda: bool(world.committed))
    assert world.connections == 3
    assert world.offsets == [0]
    assert world.pauses.count(RETRY_S) == 2


async def test_the_sink_is_connected_while_a_writer_is_open(world: World) -> None:
    world.connect_errors = [Retryable("connection refused")]
    sink = await a_sink(world)
    states = []

    async def note_state() -> None:
        states.append((world.pauses[-1], sink.connected))

    world.during_pause = note_state
    await sink.receive([a_chunk(0)])
    await run_until(sink, lambda: bool(world.committed))
    assert states == [(RETRY_S, False), (LINGER_S, True)]
    assert not sink.connected


async def test_a_failed_commit_is_repeated_with_the_next(world: World) -> None:
    world.commit_errors = [Retryable("rebalance")]
    sink = await a_sink(world)
    await sink.receive([a_record(0)])
    async with running(sink):
        await until(lambda: world.offsets == [0], 60, "the first is written")
        await sink.receive([a_record(1)])
        await until(lambda: bool(world.committed), 60, "the commit succeeds")
    assert world.committed[-1] == [OffsetCommit(0, 2)]


async def test_unprocessable_results_are_dead_lettered_and_the_others_written(world: World) -> None:
    world.unstorable = {2}
    world.unknown = {"nobody"}
    sink = await a_sink(world)
    await sink.receive([a_record(0), a_record(1, value=b"{}"), a_record(2), a_record(3, run="nobody"), a_record(4)])
    await run_until(sink, lambda: bool(world.committed))
    assert sorted(world.dead) == [(1, "undecodable"), (2, "unstorable"), (3, "unknown_run")]
    assert sorted(world.offsets) == [0, 4]
    assert world.committed[-1] == [OffsetCommit(0, 5)]


async def test_only_a_result_that_alone_takes_too_long_is_not_written(world: World) -> None:
    world.too_slow = {2}
    before = counter("gsc_slow_results_total")._value.get()
    sink = await a_sink(world)
    await sink.receive([a_record(number) for number in range(5)])
    await run_until(sink, lambda: bool(world.committed))
    assert world.dead == []
    assert counter("gsc_slow_results_total")._value.get() - before == 1
    assert sorted(world.offsets) == [0, 1, 3, 4]
    assert world.committed[-1] == [OffsetCommit(0, 5)]


async def test_results_are_retried_while_all_of_them_take_too_long(world: World) -> None:
    world.too_slow = {0, 1}
    sink = await a_sink(world)

    async def faster() -> None:
        world.too_slow = set()

    await sink.receive([a_record(0), a_record(1)])
    async with running(sink):
        await until(lambda: RETRY_S in world.pauses, 5, "the batch has failed")
        world.during_pause = faster
        await until(lambda: bool(world.committed), 5, "the batch is written")
    assert (world.offsets, world.dead) == ([0, 1], [])


@pytest.mark.parametrize("reason", ["undecodable", "unknown_run", "unstorable"])
async def test_a_retried_batch_dead_letters_a_message_once(world: World, reason: str) -> None:
    """PostgreSQL fails ten times in a batch with one bad message; ten copies of it would end the service."""
    bad = {"undecodable": a_record(0, value=b"{}"), "unknown_run": a_record(0, run="nobody")}.get(reason, a_record(0))
    world.unknown = {"nobody"}
    world.unstorable = {0} if reason == "unstorable" else set()
    world.errors = [Retryable("deadlock") for _ in range(10)]
    sink = await a_sink(world, limit=5)
    await sink.receive([bad, a_record(1)])
    await run_until(sink, lambda: bool(world.committed))
    assert world.dead == [(0, reason)]
    assert world.offsets == [1]
    assert world.committed == [[OffsetCommit(0, 2)]]


async def test_a_dead_letter_that_cannot_be_published_is_retried_with_its_batch(world: World) -> None:
    world.dead_letter_errors = [Retryable("Kafka: away")]
    sink = await a_sink(world)
    await sink.receive([a_record(0, value=b"{}"), a_record(1)])
    await run_until(sink, lambda: bool(world.committed))
    assert world.dead == [(0, "undecodable")]
    assert world.written == [[1]]
    assert world.committed == [[OffsetCommit(0, 2)]]


def test_a_dead_lettered_offset_is_forgotten_when_its_batch_is_done() -> None:
    progress = Progress(dead_lettered={3, 4})
    progress.advance(3)
    assert progress == Progress(next_offset=4, dead_lettered={4})


async def test_too_many_dead_letters_end_the_service(world: World) -> None:
    sink = await a_sink(world, limit=3)
    await sink.receive([a_record(number, value=b"{}") for number in range(3)])
    with pytest.raises(Fatal, match="3 of the last 3 messages of partition 0"):
        await run_until(sink, lambda: False)
    # A restarted process goes on behind them, and does not dead-letter them again.
    assert world.committed == [[OffsetCommit(0, 3)]]


@pytest.mark.parametrize("reason", ["unknown_run", "unstorable"])
async def test_refused_results_of_a_tenant_never_end_the_service(world: World, reason: str) -> None:
    sink = await a_sink(world, limit=3)
    world.unknown = {"nobody"}
    world.unstorable = set(range(5)) if reason == "unstorable" else set()
    await sink.receive([a_record(number, run="nobody" if reason == "unknown_run" else "run-1") for number in range(5)])
    await sink.receive([a_record(5)])
    await run_until(sink, lambda: world.offsets == [5])
    assert sorted(world.dead) == [(number, reason) for number in range(5)]


async def test_written_results_between_dead_letters_keep_the_service_running(world: World) -> None:
    sink = await a_sink(world, max_bytes=1, limit=2)
    await sink.receive([a_record(0, value=b"{}"), a_record(1), a_record(2, value=b"{}"), a_record(3)])
    await run_until(sink, lambda: len(world.offsets) == 2)
    assert [offset for offset, _ in world.dead] == [0, 2]


async def test_dead_letters_of_an_earlier_assignment_do_not_count(world: World) -> None:
    sink = await a_sink(world, limit=2)
    for offset in range(3):
        await sink.receive([a_record(offset, value=b"{}")])
        await run_until(sink, lambda: len(world.dead) == offset + 1)  # noqa: B023 - called at once
        await sink.revoked([0])
        await sink.assigned([AssignedPartition(0, offset + 1, "")])
    assert len(world.dead) == 3


async def test_a_fatal_error_of_postgresql_ends_the_service(world: World) -> None:
    world.errors = [Fatal("permission denied")]
    sink = await a_sink(world)
    await sink.receive([a_record(0)])
    with pytest.raises(Fatal, match="permission denied"):
        await run_until(sink, lambda: False)


async def test_the_transaction_in_progress_is_committed_when_partitions_are_revoked(world: World) -> None:
    sink = await a_sink(world, max_bytes=len(a_record(0).value or b""))
    await sink.receive([a_record(0), a_record(1)])
    async with in_transaction(world, sink):
        revoked = await revoking(sink, [0, 1])
        assert not revoked.done()
    await revoked
    assert world.offsets == [0]  # what was only read is left to the next owner
    assert world.committed == [[OffsetCommit(0, 1)]]


async def test_a_dead_letter_of_the_transaction_in_progress_is_committed_too(world: World) -> None:
    sink = await a_sink(world)
    world.unstorable = {0}
    await sink.receive([a_record(0), a_record(1)])
    async with in_transaction(world, sink):
        revoked = await revoking(sink, [0])
    await revoked
    assert world.dead == [(0, "unstorable")]
    assert world.committed == [[OffsetCommit(0, 2)]]


async def test_results_that_are_revoked_while_their_batch_waits_are_not_written(world: World) -> None:
    sink = await a_sink(world)

    async def revoke() -> None:
        await sink.revoked([0])

    world.during_pause = revoke
    await sink.receive([a_chunk(0)])
    await run_until(sink, lambda: bool(world.pauses))
    assert world.written == []
    assert world.committed == []


async def test_only_the_revoked_partitions_are_given_up(world: World) -> None:
    records = [a_record(0), a_record(4, partition=1), a_record(1), a_record(5, partition=1)]
    sink = await a_sink(world, max_bytes=sum(len(record.value or b"") for record in records[:2]))
    await sink.receive(records)
    async with in_transaction(world, sink):
        revoked = await revoking(sink, [1])
        world.may_write.set()
        await revoked
        await until(
            lambda: [OffsetCommit(0, 2)] in world.committed, 60, "the partition that is left is written further"
        )
    assert world.offsets == [0, 4, 1]
    assert [OffsetCommit(1, 5)] in world.committed


async def test_a_transaction_that_fails_is_not_committed_when_partitions_are_revoked(world: World) -> None:
    sink = await a_sink(world)
    await sink.receive([a_record(0)])
    world.errors = [Retryable("away")]
    world.may_write.clear()
    async with running(sink):
        await until(lambda: world.writing, 60, "the transaction is in progress")
        revoked = await revoking(sink, [0])
        world.may_write.set()
        await revoked
    assert world.offsets == []
    assert world.committed == []


async def test_an_offset_of_an_earlier_assignment_is_never_committed_later(world: World) -> None:
    """The commit of a revoked partition fails; when the partition is back, its new owner has moved it on."""
    sink = await a_sink(world)
    await sink.receive([a_record(0)])
    await run_until(sink, lambda: bool(world.committed))
    world.commit_errors = [Retryable("rebalance")]
    with pytest.raises(Retryable):
        await sink.revoked([0])
    await sink.assigned([AssignedPartition(0, 100, "")])
    await sink.receive([a_record(7, partition=1)])
    await run_until(sink, lambda: len(world.committed) > 1)
    assert world.committed[1:] == [[OffsetCommit(1, 8)]]


async def test_lost_partitions_are_neither_written_further_nor_committed(world: World) -> None:
    sink = await a_sink(world, max_bytes=len(a_record(0).value or b""))
    await sink.receive([a_record(0), a_record(1)])
    async with in_transaction(world, sink):
        sink.lost([0])
    assert world.offsets == [0]
    assert world.committed == []


async def test_a_transaction_does_not_move_a_partition_that_was_lost_and_assigned_again(world: World) -> None:
    sink = await a_sink(world)
    await sink.receive([a_record(0), a_record(5, partition=1)])
    async with in_transaction(world, sink):
        sink.lost([0])
        await sink.assigned([AssignedPartition(0, 100, "")])
    assert world.committed == [[OffsetCommit(1, 6)]]
