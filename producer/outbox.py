"""The outbox: publishes pending pages of the ledger, in the one producer that holds the publisher's lock."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from pipeline.backpressure import LagThreshold
from pipeline.clock import monotonic, now
from pipeline.consumer_lag import Lag
from pipeline.contracts import codec
from pipeline.contracts.halts import Halts
from pipeline.contracts.identity import DEDUPLICATION_S
from pipeline.contracts.records import OverduePage, PartitionLag, Position
from pipeline.errors import Retryable
from pipeline.ledger import pages as ledger_pages
from pipeline.log import logger
from pipeline.metrics import counter, gauge
from pipeline.postgres import Connection, become_publisher
from pipeline.process import event_or_timeout
from pipeline.watchdog import Heartbeat

WINDOW = 100
"""Pages published before they are marked: a kill in between publishes at most these twice."""
IDLE_S = 0.5
RETRY_S = 1.0
SEARCH_LOST_EVERY_S = 30.0
OVERDUE_S = DEDUPLICATION_S + 300.0
"""Age from which a page without a result may be lost. Longer than any fetcher remembers the batch id, so that the
republished batch is not dropped as a duplicate."""

_log = logger(__name__)
Connect = Callable[[], AbstractAsyncContextManager[Connection]]
"""Opens a connection to PostgreSQL for the length of a block."""


class BatchPublisher(Protocol):
    """Publishes batches to Kafka."""

    async def publish_all(self, topic: str, messages: Sequence[tuple[str, bytes]]) -> list[Position]:
        """Publish messages; returns after their acknowledgement. Raises Retryable."""


@dataclass(frozen=True)
class Lags:
    """The lag of the groups behind the producer."""

    fetchers: Lag
    sink: Lag


class Outbox:
    """Publishes pending pages while the fetchers are less than `max_queue_size` batches behind.

    After a pause it resumes at half of that.
    """

    def __init__(self, topic: str, publisher: BatchPublisher, lags: Lags, halts: Halts, max_queue_size: int) -> None:
        self._topic = topic
        self._publisher = publisher
        self._lags = lags
        self._halts = halts
        self._max_queue_size = max_queue_size
        self._threshold = LagThreshold(pause_at=max_queue_size, resume_below=max_queue_size // 2 + 1)
        self._new_pages = asyncio.Event()
        self._suspects: set[str] = set()
        self.trouble: str | None = "the ledger has not been read yet"
        """Why no page can be published now, or None. For the readiness probe of leader and standby alike."""

    def notify(self) -> None:
        """Look for pending pages now: there may be new ones."""
        self._new_pages.set()

    async def run(self, stop: asyncio.Event, connect: Connect, heartbeat: Heartbeat) -> None:
        """Publish until `stop` whenever this process is the publisher. Reconnects while servers are away.

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
                gauge("gsc_publisher_leader").set(0)
            await event_or_timeout(stop, RETRY_S)

    async def _lead(self, stop: asyncio.Event, conn: Connection, heartbeat: Heartbeat) -> None:
        while not await become_publisher(conn):
            heartbeat.beat(monotonic())
            self.trouble = None
            if await event_or_timeout(stop, RETRY_S):
                return
        gauge("gsc_publisher_leader").set(1)
        _log.info("publisher_elected")
        search = asyncio.create_task(self._search_lost_regularly(stop, conn))
        try:
            while not stop.is_set() and not search.done():
                heartbeat.beat(monotonic())
                published = await self._publish_window(conn)
                self.trouble = None
                if not published:
                    await self._wait_for_pages()
            if search.done():
                search.result()  # raises its error
        finally:
            search.cancel()
            await asyncio.gather(search, return_exceptions=True)

    async def _wait_for_pages(self) -> None:
        self._new_pages.clear()
        await event_or_timeout(self._new_pages, IDLE_S)

    async def _publish_window(self, conn: Connection) -> bool:
        """Publish up to WINDOW pages if the fetchers keep up; returns whether any was published."""
        lag = await self._lags.fetchers.total()
        paused = self._threshold.update(lag)
        gauge("gsc_publishing_allowed").set(int(not paused))
        if paused:
            return False
        limit = min(self._max_queue_size - lag, WINDOW)
        batches = await ledger_pages.next_pending(conn, self._halts.active(now()), limit)
        if not batches:
            return False
        messages = [(batch.credential, codec.encode(batch)) for batch in batches]
        positions = await self._publisher.publish_all(self._topic, messages)
        # After a kill before this line they are published again, with the same ids: their owner drops duplicates.
        await ledger_pages.mark_published(conn, batches, positions)
        counter("gsc_pages_published_total").inc(len(batches))
        return True

    async def _search_lost_regularly(self, stop: asyncio.Event, conn: Connection) -> None:
        while not await event_or_timeout(stop, SEARCH_LOST_EVERY_S):
            await self._republish_lost(conn)

    async def _republish_lost(self, conn: Connection) -> None:
        """Make pages pending again that two searches in a row found to be lost."""
        overdue = await ledger_pages.overdue(conn, OVERDUE_S)
        lost: set[str] = set()
        if overdue:
            lost = lost_pages(overdue, await self._lags.fetchers.read(), await self._lags.sink.total())
        if confirmed := lost & self._suspects:
            count = await ledger_pages.republish(conn, sorted(confirmed))
            _log.warning("lost_pages_republished", pages=count)
        self._suspects = lost - confirmed


def lost_pages(overdue: Iterable[OverduePage], fetchers: Mapping[int, PartitionLag], sink_lag: int) -> set[str]:
    """Return the ids of pages that no fetcher will process any more, when the sink has no results left. Pure.

    The position of a batch that a fetcher published, as the next page of a full one, is unknown: such a batch is behind
    the group when the group has read everything.
    """
    if sink_lag:
        return set()
    all_read = not any(partition.lag for partition in fetchers.values())
    return {page.batch_id for page in overdue if all_read or _is_behind_group(page, fetchers)}


def _is_behind_group(page: OverduePage, fetchers: Mapping[int, PartitionLag]) -> bool:
    if page.position is None or page.position.partition not in fetchers:
        return False
    return page.position.offset < fetchers[page.position.partition].committed
