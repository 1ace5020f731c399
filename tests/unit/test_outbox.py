"""The outbox: publishing pending pages in shares. Ledger, Kafka and lag are in memory."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from pipeline.contracts import codec
from pipeline.contracts.halts import Halts
from pipeline.contracts.messages import Batch, Control
from pipeline.contracts.records import OverduePage, PartitionLag, PendingGroup, Position
from pipeline.errors import Fatal, PipelineError, Retryable
from pipeline.ledger import pages as ledger_pages
from pipeline.metrics import exposition
from pipeline.postgres import Connection
from pipeline.watchdog import Heartbeat
from producer import lost_pages as lost_pages_module
from producer import outbox as outbox_module
from producer.lost_pages import GroupLags, LostPages
from producer.outbox import PASS_PAGES, WINDOW, Outbox, QueueRules
from producer.queue_shares import DAILY_EXTRA
from support.examples import NOW, a_batch
from support.wait import until


class World:
    """The ledger, the broker and the lag of both groups."""

    def __init__(self) -> None:
        self.pending: list[Batch] = []
        self.published: Counter[str] = Counter()
        """Published pages of each credential, in the ledger."""
        self.sent: list[str] = []
        """Keys of the messages that reached the broker."""
        self.projects: dict[str, str] = {}
        """The project in the last message of each key."""
        self.marked: list[str] = []
        self.questions = 0
        """How often the ledger was asked for pages."""
        self.overdue_error: PipelineError | None = None
        self.connections = 0
        self.prepared = 0
        self.leader = True
        self.publish_error: PipelineError | None = None
        self.on_publish: Callable[[], object] = lambda: None

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        self.connections += 1
        yield cast("Connection", self)

    async def become_leader(self, _: Connection) -> bool:
        return self.leader

    async def use_index_scans(self, _: Connection) -> None:
        self.prepared += 1

    async def pending_groups(self, _: Connection) -> list[PendingGroup]:
        return sorted(set(map(group_of, self.pending)))

    async def published_by_credential(self, _: Connection) -> dict[str, int]:
        return dict(self.published)

    async def next_pending(
        self, _: Connection, counts: Mapping[PendingGroup, int], halted_properties: Collection[str], __: object
    ) -> list[Batch]:
        self.questions += 1
        found = []
        for group, count in counts.items():
            pages = [page for page in self.pending if group_of(page) == group]
            found += [page for page in pages if page.property not in halted_properties][:count]
        return found

    async def first_rounds(
        self, _: Connection, groups: Sequence[PendingGroup], halted_properties: Collection[str]
    ) -> dict[PendingGroup, int]:
        running = [page for page in self.pending if page.property not in halted_properties]
        return {group: 0 for group in groups if group in map(group_of, running)}

    async def mark_published(self, _: Connection, batches: Sequence[Batch], positions: Sequence[Position]) -> None:
        assert len(batches) == len(positions)
        self.marked += [batch.batch_id for batch in batches]
        marked = {batch.batch_id for batch in batches}
        self.pending = [page for page in self.pending if page.batch_id not in marked]
        self.published.update(batch.credential for batch in batches)

    async def find_overdue(self, _: Connection, __: float) -> list[OverduePage]:
        if self.overdue_error:
            raise self.overdue_error
        return []

    async def publish_all(self, _: str, messages: Sequence[tuple[str, bytes]]) -> list[Position]:
        if self.publish_error:
            error, self.publish_error = self.publish_error, None
            raise error
        self.sent += [key for key, _ in messages]
        self.projects |= {key: codec.decode(Batch, value).project for key, value in messages}
        self.on_publish()
        return [Position(0, number) for number in range(len(messages))]

    async def read(self) -> dict[int, PartitionLag]:
        return {}

    async def total(self) -> int:
        return 0


def group_of(page: Batch) -> PendingGroup:
    return PendingGroup(page.credential, page.priority, page.generation, page.run_id)


def some_pages(credential: str, count: int, **changes: Any) -> list[Batch]:
    """Pages with ids of their own."""
    return [
        a_batch(credential=credential, start_row=25_000 * number, property=f"sc-domain:{credential}.example", **changes)
        for number in range(count)
    ]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(outbox_module, "become_leader", world.become_leader)
    for name in (
        "use_index_scans",
        "pending_groups",
        "published_by_credential",
        "next_pending",
        "first_rounds",
        "mark_published",
    ):
        monkeypatch.setattr(ledger_pages, name, getattr(world, name))
    monkeypatch.setattr(ledger_pages, "overdue", world.find_overdue)
    monkeypatch.setattr(lost_pages_module, "SEARCH_EVERY_S", 0.001)
    for name in ("IDLE_S", "RETRY_S", "MAX_REST_S"):
        monkeypatch.setattr(outbox_module, name, 0.001)
    return world


def an_outbox(world: World, *, halts: Halts | None = None, max_queue_size: int = 1000) -> Outbox:
    rules = QueueRules(max_queue_size, lambda: {"held": "held-project"})
    return Outbox("gsc.batches", world, halts or Halts(), rules, [LostPages(GroupLags(world, world))])


async def publish_pass(world: World, outbox: Outbox) -> int:
    return await outbox._publish_pass(cast("Connection", world))


def paused() -> dict[str, float]:
    lines = exposition("producer").decode().splitlines()
    prefix = "gsc_publishing_paused{credential="
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines if line.startswith(prefix)}


async def run_until(outbox: Outbox, world: World, condition: Callable[[], bool]) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(outbox.run(stop, world.connect, Heartbeat("outbox", 60.0, 0.0)))
    try:
        await until(lambda: condition() or task.done(), 60, "the condition of the test")
    finally:
        stop.set()
        await task


async def test_pending_pages_are_published_in_windows_and_marked(world: World) -> None:
    world.pending = some_pages("acme", WINDOW + 5)
    ids = [batch.batch_id for batch in world.pending]
    outbox = an_outbox(world)
    await run_until(outbox, world, lambda: len(world.marked) == WINDOW + 5)
    assert world.marked == ids
    assert world.sent == ["acme"] * (WINDOW + 5)
    assert world.prepared == 1
    assert outbox.trouble is None
    assert paused() == {}  # it has stopped


async def test_a_standby_publishes_nothing_and_is_ready(world: World) -> None:
    world.leader = False
    world.pending = [a_batch()]
    outbox = an_outbox(world)
    await run_until(outbox, world, lambda: outbox.trouble is None)
    assert world.sent == []


async def test_nothing_is_asked_of_kafka_or_the_ledger_while_no_page_is_pending(world: World) -> None:
    assert await publish_pass(world, an_outbox(world)) == 0
    assert (world.questions, world.sent) == (0, [])


async def test_a_credential_whose_pages_do_not_move_fills_only_its_own_share(world: World) -> None:
    world.pending = some_pages("stuck", 200) + some_pages("fast", 200, report="by_date")
    outbox = an_outbox(world, max_queue_size=100)
    await publish_pass(world, outbox)
    assert world.published == {"stuck": 50, "fast": 50}
    assert paused() == {"stuck": 1, "fast": 1}
    for _ in range(3):
        world.published["fast"] = 0  # the sink has applied its pages
        assert await publish_pass(world, outbox) == 50
    assert world.published == {"stuck": 50, "fast": 50}


async def test_a_full_share_of_backfill_delays_no_daily_page(world: World) -> None:
    world.pending = some_pages("acme", 100)
    outbox = an_outbox(world, max_queue_size=50)
    assert await publish_pass(world, outbox) == 50
    world.pending += some_pages("acme", 30, priority="daily", report="by_date", run_id="daily", generation=6)
    assert await publish_pass(world, outbox) == DAILY_EXTRA
    assert Counter(page.priority for page in world.pending) == {"backfill": 50, "daily": 20}


async def test_halted_credentials_and_runs_are_not_asked_for_and_take_no_share(world: World) -> None:
    halts = Halts()
    world.pending = some_pages("halted", 50) + some_pages("acme", 100, report="by_date")
    world.pending += some_pages("other", 50, report="by_country", run_id="halted", generation=6)
    for scope in ("credential:halted", "run:halted"):
        halts.apply(Control(scope=scope, state="halted", reason="r", actor="a", at=NOW))
    await publish_pass(world, an_outbox(world, halts=halts, max_queue_size=80))
    assert world.published == {"acme": 80}
    assert paused() == {"acme": 1}


async def test_a_halt_of_everything_stops_a_pass_at_the_next_window(world: World) -> None:
    halts = Halts()
    halt = Control(scope="all", state="halted", reason="r", actor="a", at=NOW)
    world.pending = some_pages("acme", 3 * WINDOW)
    world.on_publish = lambda: halts.apply(halt)
    assert await publish_pass(world, an_outbox(world, halts=halts)) == WINDOW


async def test_pages_of_halted_properties_do_not_delay_those_of_others(world: World) -> None:
    halts = Halts()
    halts.apply(Control(scope="property:sc-domain:a.example", state="halted", reason="r", actor="a", at=NOW))
    world.pending = some_pages("a", 2 * WINDOW, priority="daily") + some_pages("b", 20, report="by_date")
    assert await publish_pass(world, an_outbox(world, halts=halts)) == 20
    assert world.published == {"b": 20}
    assert paused() == {"a": 0, "b": 0}


async def test_a_pass_is_bounded_so_that_new_pages_are_seen(world: World) -> None:
    world.pending = some_pages("acme", PASS_PAGES + 500)
    outbox = an_outbox(world, max_queue_size=10_000)
    assert await publish_pass(world, outbox) == PASS_PAGES
    assert await publish_pass(world, outbox) == 500


async def test_pages_are_not_marked_when_the_broker_fails_and_are_published_again(world: World) -> None:
    world.pending = [a_batch()]
    world.publish_error = Retryable("no broker")
    outbox = an_outbox(world)
    await run_until(outbox, world, lambda: bool(world.marked))
    assert world.connections > 1
    assert len(world.sent) == 1


async def test_a_fatal_error_in_the_search_for_lost_pages_ends_the_outbox(world: World) -> None:
    world.overdue_error = Fatal("permission denied for table pages")
    with pytest.raises(Fatal, match="permission denied"):
        await run_until(an_outbox(world), world, lambda: False)


async def test_a_passing_error_in_the_search_for_lost_pages_reconnects(world: World) -> None:
    world.overdue_error = Retryable("connection lost")
    outbox = an_outbox(world)
    await run_until(outbox, world, lambda: world.connections > 2)
    assert outbox.trouble is not None or world.connections > 2


async def test_batches_name_the_project_of_their_credential_and_a_halt_of_it_holds_their_pages(world: World) -> None:
    world.pending = [*some_pages("held", 2), *some_pages("acme", 2)]
    halts = Halts()
    halts.apply(Control(scope="project:held-project", state="halted", reason="r", actor="a", at=NOW))
    outbox = an_outbox(world, halts=halts)
    await publish_pass(world, outbox)
    assert world.projects == {"acme": "default"}
    halts.forget("project:held-project")
    await publish_pass(world, outbox)
    assert world.projects == {"acme": "default", "held": "held-project"}
