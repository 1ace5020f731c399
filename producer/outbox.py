"""The outbox: what the ledger owes, published in small windows by the one planner that holds the lock."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from pipeline.clock import now
from pipeline.contracts import codec
from pipeline.contracts.halts import Halts
from pipeline.contracts.records import PartitionLag, Position
from pipeline.errors import Retryable
from pipeline.ledger import pages as ledger_pages
from pipeline.log import logger
from pipeline.metrics import counter, gauge
from pipeline.postgres import Connection, become_publisher
from pipeline.process import sleep_or_stop
from producer.lost_pages import OVERDUE_S, lost
from producer.sync_request import Gate

WINDOW = 100
IDLE_S = 0.5
RETRY_S = 1.0
LOOK_FOR_LOST_S = 30.0

_log = logger(__name__)


class Lag(Protocol):
    """How far a group is behind."""

    async def read(self) -> dict[int, PartitionLag]:
        """By partition. Raises Retryable."""

    async def total(self) -> int:
        """Over all partitions. Raises Retryable."""


class Writing(Protocol):
    """Kafka."""

    async def publish_all(self, topic: str, messages: Sequence[tuple[str, bytes]]) -> list[Position]:
        """Write messages; returns once they are acknowledged. Raises Retryable."""


@dataclass(frozen=True)
class Lags:
    """The two groups that matter to the planner."""

    fetchers: Lag
    sink: Lag


class Outbox:
    """Publishes while the fetchers keep up."""

    def __init__(self, topic: str, publisher: Writing, lags: Lags, halts: Halts, max_queue_size: int) -> None:
        self._topic = topic
        self._publisher = publisher
        self._lags = lags
        self._halts = halts
        self._gate = Gate(max_queue_size)
        self._planned = asyncio.Event()
        self._suspects: set[str] = set()
        self.trouble: str | None = "the ledger has not been looked at yet"
        """Why nothing could be published now, whoever the publisher is; None while all is well."""

    def planned(self) -> None:
        """There is something new to publish."""
        self._planned.set()

    async def run(self, stop: asyncio.Event, open_: Callable[[], AbstractAsyncContextManager[Connection]]) -> None:
        """Publish until `stop`, whenever we are the publisher; servers may go and come back."""
        while not stop.is_set():
            try:
                async with open_() as conn:
                    await self._lead(stop, conn)
            except Retryable as error:
                self.trouble = str(error)
                _log.warning("publishing_interrupted", error=str(error), retry_s=RETRY_S)
            finally:
                gauge("gsc_publisher_leader").set(0)
            await sleep_or_stop(stop, RETRY_S)

    async def _lead(self, stop: asyncio.Event, conn: Connection) -> None:
        while not await become_publisher(conn):
            self.trouble = None
            if await sleep_or_stop(stop, RETRY_S):
                return
        gauge("gsc_publisher_leader").set(1)
        _log.info("publisher")
        looking = asyncio.create_task(self._look_for_lost_regularly(stop, conn))
        try:
            while not stop.is_set() and not looking.done():
                published = await self._publish_window(conn)
                self.trouble = None
                if not published:
                    await self._idle()
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _idle(self) -> None:
        self._planned.clear()
        try:
            async with asyncio.timeout(IDLE_S):
                await self._planned.wait()
        except TimeoutError:
            pass

    async def _publish_window(self, conn: Connection) -> bool:
        """Publish a window, if there is room for one and something is owed; returns whether it did."""
        room = self._gate.room(await self._lags.fetchers.total())
        gauge("gsc_publishing_allowed").set(int(self._gate.open))
        if room <= 0:
            return False
        batches = await ledger_pages.next_pending(conn, self._halts.active(now()), min(room, WINDOW))
        if not batches:
            return False
        positions = await self._publisher.publish_all(
            self._topic, [(batch.credential, codec.encode(batch)) for batch in batches]
        )
        # A kill before this line publishes them again, under the same ids: their owner drops repeats.
        await ledger_pages.mark_published(conn, batches, positions)
        counter("gsc_pages_published_total").inc(len(batches))
        return True

    async def _look_for_lost_regularly(self, stop: asyncio.Event, conn: Connection) -> None:
        while not await sleep_or_stop(stop, LOOK_FOR_LOST_S):
            await self._look_for_lost(conn)

    async def _look_for_lost(self, conn: Connection) -> None:
        """Owe again what two looks in a row found to be lost."""
        pages = await ledger_pages.overdue(conn, OVERDUE_S)
        found = lost(pages, await self._lags.fetchers.read(), await self._lags.sink.total()) if pages else set()
        if again := found & self._suspects:
            count = await ledger_pages.republish(conn, sorted(again))
            _log.warning("owed_again", pages=count)
        self._suspects = found - self._suspects
