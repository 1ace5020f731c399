"""The outbox: publishes pending pages of the ledger, in the one producer that holds the leader's lock."""

import asyncio
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from pipeline.clock import monotonic, now
from pipeline.contracts import codec
from pipeline.contracts.halts import Halts
from pipeline.contracts.messages import Batch
from pipeline.contracts.records import PendingGroup, Position
from pipeline.errors import Retryable
from pipeline.ledger import pages as ledger_pages
from pipeline.log import logger
from pipeline.metrics import counter, gauge
from pipeline.postgres import Connect, Connection, become_leader
from pipeline.process import event_or_timeout
from pipeline.watchdog import Heartbeat
from producer.pending_floors import PendingFloors
from producer.queue_shares import HaltedScopes, Shares, choose_pages, halted_scopes, share_size

WINDOW = 100
"""Pages published before they are marked: a kill in between publishes at most these twice."""
PASS_PAGES = 1000
"""Pages published before the ledger is asked again which credentials have pending pages."""
IDLE_S = 0.5
REST_RATIO = 9
"""After a pass that published nothing, the outbox rests for this many durations of the pass, at most MAX_REST_S."""
MAX_REST_S = 2.0
RETRY_S = 1.0

_log = logger(__name__)


class BatchPublisher(Protocol):
    """Publishes batches to Kafka."""

    async def publish_all(self, topic: str, messages: Sequence[tuple[str, bytes]]) -> list[Position]:
        """Publish messages; returns after their acknowledgement. Raises Retryable."""


class LeaderTask(Protocol):
    """What only the leader does."""

    async def run(self, stop: asyncio.Event, conn: Connection) -> None:
        """Work until `stop` or cancelled. `conn` holds the leader's lock. Raises Retryable and Fatal."""


class QueueRules(NamedTuple):
    """The room for published pages, and what their credentials share."""

    max_queue_size: int
    projects: Callable[[], Mapping[str, str]]
    """Returns the Google Cloud project of each credential, which becomes part of its batches."""


class Outbox:
    """Publishes pending pages while their credential's share of `max_queue_size` has room."""

    def __init__(
        self, topic: str, publisher: BatchPublisher, halts: Halts, rules: QueueRules, tasks: Sequence[LeaderTask]
    ) -> None:
        self._topic = topic
        self._publisher = publisher
        self._halts = halts
        self._max_queue_size = rules.max_queue_size
        self._projects = rules.projects
        self._tasks = tasks
        self._floors = PendingFloors()
        self._changed = asyncio.Event()
        self.trouble: str | None = "the ledger has not been read yet"
        """Why no page can be published now, or None. For the readiness probe of leader and standby alike."""

    def notify(self) -> None:
        """Look for pending pages now: there may be new ones, or room."""
        self._changed.set()

    async def run(self, stop: asyncio.Event, connect: Connect, heartbeat: Heartbeat) -> None:
        """Publish until `stop` whenever this process is the leader. Reconnects while servers are away.

        Raises Fatal for what trying again cannot change.
        """
        while not stop.is_set():
            heartbeat.beat(monotonic())
            try:
                async with connect() as conn:
                    await self._lead(stop, conn, heartbeat)
            except Retryable as error:
                self.trouble = str(error)
                _log.warning("publishing_interrupted", error=str(error), retry_s=RETRY_S)
            finally:
                gauge("gsc_producer_leader").set(0)
                gauge("gsc_publishing_paused").clear()
            await event_or_timeout(stop, RETRY_S)

    async def _lead(self, stop: asyncio.Event, conn: Connection, heartbeat: Heartbeat) -> None:
        while not await become_leader(conn):
            heartbeat.beat(monotonic())
            self.trouble = None
            if await event_or_timeout(stop, RETRY_S):
                return
        gauge("gsc_producer_leader").set(1)
        _log.info("leader_elected")
        await ledger_pages.use_index_scans(conn)
        tasks = [asyncio.create_task(task.run(stop, conn)) for task in self._tasks]
        try:
            while not stop.is_set() and not any(task.done() for task in tasks):
                heartbeat.beat(monotonic())
                await self._publish_and_rest(conn)
            for task in filter(asyncio.Task.done, tasks):
                task.result()  # raises its error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _publish_and_rest(self, conn: Connection) -> None:
        """Make one pass. When there was nothing to publish, wait until pages change."""
        self._changed.clear()  # before the pass: a change during it starts the next one
        began = monotonic()
        published = await self._publish_pass(conn)
        self.trouble = None
        if not published:
            await asyncio.sleep(min(MAX_REST_S, REST_RATIO * (monotonic() - began)))
            await event_or_timeout(self._changed, IDLE_S)

    async def _publish_pass(self, conn: Connection) -> int:
        """Publish until no credential has both room and pages, or PASS_PAGES are reached; return how many."""
        groups = await ledger_pages.pending_groups(conn)
        published = Counter(await ledger_pages.published_by_credential(conn) if groups else {})
        halted = self._halted()
        running = [group for group in groups if not halted.contains(group)]
        floors = await self._floors.read(conn, running, halted.properties, monotonic())
        waiting = [group for group in running if group in floors]
        shares = Shares(share_size(self._max_queue_size, running), published)
        count = 0
        while count < PASS_PAGES:
            halted = self._halted()
            waiting = [group for group in waiting if not halted.contains(group)]
            if not (chosen := choose_pages(waiting, shares, WINDOW)):
                break
            batches = await self._publish_window(conn, chosen, halted, floors)
            published.update(batch.credential for batch in batches)
            found = Counter(map(_group_of, batches))
            # A group with fewer pages than chosen has no more that may be published.
            waiting = [group for group in waiting if found[group] == chosen.get(group, 0)]
            count += len(batches)
        _export_paused(running, {group.credential for group in waiting if shares.is_full(group)})
        return count

    def _halted(self) -> HaltedScopes:
        return halted_scopes(self._halts.active(now()), self._projects())

    async def _publish_window(
        self,
        conn: Connection,
        chosen: Mapping[PendingGroup, int],
        halted: HaltedScopes,
        floors: Mapping[PendingGroup, int],
    ) -> list[Batch]:
        """Publish the chosen pages, as far as the ledger has them, and return them."""
        pending = await ledger_pages.next_pending(conn, chosen, halted.properties, floors)
        projects = self._projects()
        batches = [replace(batch, project=projects.get(batch.credential, batch.project)) for batch in pending]
        if batches:
            messages = [(batch.credential, codec.encode(batch)) for batch in batches]
            positions = await self._publisher.publish_all(self._topic, messages)
            # After a kill before this line they are published again, with the same ids: their owner drops duplicates.
            await ledger_pages.mark_published(conn, batches, positions)
            counter("gsc_pages_published_total").inc(len(batches))
        return batches


def _group_of(batch: Batch) -> PendingGroup:
    return PendingGroup(batch.credential, batch.priority, batch.generation, batch.run_id)


def _export_paused(running: Iterable[PendingGroup], paused: Container[str]) -> None:
    gauge("gsc_publishing_paused").clear()
    for group in running:
        gauge("gsc_publishing_paused").labels(group.credential).set(int(group.credential in paused))
