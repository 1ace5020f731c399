"""The outbox: publishing pending pages, and finding lost ones. Ledger, Kafka and lag are in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from pipeline.contracts.halts import Halts
from pipeline.contracts.messages import Batch, Control
from pipeline.contracts.records import OverduePage, PartitionLag, Position
from pipeline.errors import Fatal, PipelineError, Retryable
from pipeline.ledger import pages as ledger_pages
from pipeline.postgres import Connection
from pipeline.watchdog import Heartbeat
from producer import outbox as outbox_module
from producer.outbox import WINDOW, Lags, Outbox, lost_pages
from support.examples import NOW, a_batch
from support.wait import until


class World:
    """The ledger, the broker and the lag of both groups."""

    def __init__(self, pages: int = 0) -> None:
        self.pending = [a_batch(start_row=25_000 * number) for number in range(pages)]
        self.published: list[str] = []
        self.marked: list[str] = []
        self.republished: list[list[str]] = []
        self.overdue: list[OverduePage] = []
        self.lag = 0
        self.connections = 0
        self.leader = True
        self.halts: list[Control] = []
        self.publish_error: PipelineError | None = None
        self.overdue_error: PipelineError | None = None

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        self.connections += 1
        yield cast("Connection", self)

    async def become_publisher(self, _: Connection) -> bool:
        return self.leader

    async def next_pending(self, _: Connection, halts: list[Control], limit: int) -> list[Batch]:
        self.halts = halts
        return self.pending[:limit]

    async def mark_published(self, _: Connection, batches: Sequence[Batch], positions: Sequence[Position]) -> None:
        assert len(batches) == len(positions)
        self.marked += [batch.batch_id for batch in batches]
        self.pending = self.pending[len(batches) :]

    async def find_overdue(self, _: Connection, __: float) -> list[OverduePage]:
        if self.overdue_error:
            raise self.overdue_error
        return self.overdue

    async def republish(self, _: Connection, batch_ids: Sequence[str]) -> int:
        self.republished.append(list(batch_ids))
        return len(batch_ids)

    async def publish_all(self, _: str, messages: Sequence[tuple[str, bytes]]) -> list[Position]:
        if self.publish_error:
            error, self.publish_error = self.publish_error, None
            raise error
        self.published += [key for key, _ in messages]
        return [Position(0, number) for number in range(len(messages))]

    async def read(self) -> dict[int, PartitionLag]:
        return {0: PartitionLag(100, 100 + self.lag, self.lag)}

    async def total(self) -> int:
        return self.lag


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(outbox_module, "become_publisher", world.become_publisher)
    for name in ("next_pending", "mark_published", "republish"):
        monkeypatch.setattr(ledger_pages, name, getattr(world, name))
    monkeypatch.setattr(ledger_pages, "overdue", world.find_overdue)
    for name in ("IDLE_S", "RETRY_S", "SEARCH_LOST_EVERY_S"):
        monkeypatch.setattr(outbox_module, name, 0.001)
    return world


def an_outbox(world: World, *, halts: Halts | None = None, max_queue_size: int = 1000) -> Outbox:
    return Outbox("gsc.batches", world, Lags(world, world), halts or Halts(), max_queue_size)


async def run_until(outbox: Outbox, world: World, condition: Callable[[], bool]) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(outbox.run(stop, world.connect, Heartbeat("outbox", 60.0, 0.0)))
    try:
        await until(lambda: condition() or task.done(), 5, "the condition of the test")
    finally:
        stop.set()
        await task


async def test_pending_pages_are_published_in_windows_and_marked(world: World) -> None:
    world.pending = [a_batch(start_row=25_000 * number) for number in range(WINDOW + 5)]
    ids = [batch.batch_id for batch in world.pending]
    outbox = an_outbox(world)
    await run_until(outbox, world, lambda: len(world.marked) == WINDOW + 5)
    assert world.marked == ids
    assert world.published == ["acme"] * (WINDOW + 5)
    assert outbox.trouble is None


async def test_a_standby_publishes_nothing_and_is_ready(world: World) -> None:
    world.leader = False
    world.pending = [a_batch()]
    outbox = an_outbox(world)
    await run_until(outbox, world, lambda: outbox.trouble is None)
    assert world.published == []


async def test_publishing_pauses_at_the_queue_size_and_resumes_at_half(world: World) -> None:
    world.pending = [a_batch(start_row=25_000 * number) for number in range(300)]
    world.lag = 100
    outbox = an_outbox(world, max_queue_size=100)
    conn = cast("Connection", world)
    assert not await outbox._publish_window(conn)
    world.lag = 51
    assert not await outbox._publish_window(conn)
    world.lag = 50
    assert await outbox._publish_window(conn)
    assert len(world.marked) == 50  # never more than there is room for


async def test_halted_scopes_are_passed_to_the_query(world: World) -> None:
    halts = Halts()
    halt = Control(scope="credential:acme", state="halted", reason="r", actor="a", at=NOW)
    halts.apply(halt)
    await an_outbox(world, halts=halts)._publish_window(cast("Connection", world))
    assert world.halts == [halt]


async def test_pages_are_not_marked_when_the_broker_fails_and_are_published_again(world: World) -> None:
    world.pending = [a_batch()]
    world.publish_error = Retryable("no broker")
    outbox = an_outbox(world)
    await run_until(outbox, world, lambda: bool(world.marked))
    assert world.connections > 1
    assert len(world.published) == 1


async def test_a_lost_page_is_republished_after_two_searches(world: World) -> None:
    outbox = an_outbox(world)
    conn = cast("Connection", world)
    world.overdue = [OverduePage("lost", Position(0, 4))]
    await outbox._republish_lost(conn)
    assert world.republished == []
    await outbox._republish_lost(conn)
    assert world.republished == [["lost"]]
    world.overdue = []
    await outbox._republish_lost(conn)
    assert world.republished == [["lost"]]


async def test_a_fatal_error_in_the_search_for_lost_pages_ends_the_outbox(world: World) -> None:
    world.overdue_error = Fatal("permission denied for table pages")
    with pytest.raises(Fatal, match="permission denied"):
        await run_until(an_outbox(world), world, lambda: False)


async def test_a_passing_error_in_the_search_for_lost_pages_reconnects(world: World) -> None:
    world.overdue_error = Retryable("connection lost")
    outbox = an_outbox(world)
    await run_until(outbox, world, lambda: world.connections > 2)
    assert outbox.trouble is not None or world.connections > 2


def test_a_page_is_lost_only_when_no_fetcher_can_still_process_it() -> None:
    overdue = [OverduePage("read", Position(0, 4)), OverduePage("unread", Position(0, 5)), OverduePage("next", None)]
    behind = {0: PartitionLag(committed=5, end=9, lag=4), 1: PartitionLag(0, 0, 0)}
    assert lost_pages(overdue, behind, sink_lag=1) == set()
    assert lost_pages(overdue, behind, sink_lag=0) == {"read"}
    assert lost_pages(overdue, {0: PartitionLag(9, 9, 0)}, sink_lag=0) == {"read", "unread", "next"}


def test_a_page_in_an_unknown_partition_is_not_lost() -> None:
    overdue: list[Any] = [OverduePage("other", Position(7, 4))]
    assert lost_pages(overdue, {0: PartitionLag(5, 9, 4)}, sink_lag=0) == set()
