"""Finds pages that were published and are in no queue any more, and makes them pending again."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.consumer_lag import Lag
from pipeline.contracts.identity import DEDUPLICATION_S
from pipeline.contracts.partition_status import read_done
from pipeline.contracts.records import OverduePage, PartitionLag
from pipeline.ledger import pages as ledger_pages
from pipeline.log import logger
from pipeline.offsets import OffsetTracker
from pipeline.partitioner import partition_of
from pipeline.postgres import Connection
from pipeline.process import event_or_timeout

SEARCH_EVERY_S = 30.0
OVERDUE_S = DEDUPLICATION_S + 300.0
"""Age from which a page without a result may be lost. Longer than any fetcher remembers the batch id, so that the
republished batch is not dropped as a duplicate."""

PartitionLags = Mapping[int, PartitionLag]

_log = logger(__name__)


@dataclass(frozen=True)
class GroupLags:
    """The lag of the groups behind the producer."""

    fetchers: Lag
    sink: Lag


class LostPages:
    """Searches the ledger for lost pages: those that nothing in Kafka can bring a result of any more.

    First the group of the fetchers must have committed everything that could be the page's batch; what it made of that
    is on the results topic then. Later the group of the sink must have committed everything that was there at that
    moment. Only the partition of the page's credential, then that of its property, counts: other tenants' work neither
    hides a lost page nor delays the search for it.
    """

    def __init__(self, lags: GroupLags) -> None:
        self._lags = lags
        self._unread: dict[str, int] = {}
        """Of overdue pages, the offset below which the batch is."""
        self._unapplied: dict[str, int] = {}
        """Of overdue pages whose batch is committed, the end of the results' partition when that was seen."""

    async def run(self, stop: asyncio.Event, conn: Connection) -> None:
        """Search regularly until `stop`. Raises Retryable and Fatal."""
        while not await event_or_timeout(stop, SEARCH_EVERY_S):
            await self.search(conn)

    async def search(self, conn: Connection) -> None:
        """Make lost pages pending again. Raises Retryable.

        The ledger is read after the offsets: a page that is still without a result then is not among what was applied.
        """
        fetchers = await self._lags.fetchers.read()
        sink = await self._lags.sink.read()  # after the fetchers': what a committed batch led to is below its end
        if lost := self.lost(await ledger_pages.overdue(conn, OVERDUE_S), fetchers, sink):
            count = await ledger_pages.republish(conn, lost)
            _log.warning("lost_pages_republished", pages=count)

    def lost(self, overdue: Iterable[OverduePage], fetchers: PartitionLags, sink: PartitionLags) -> list[str]:
        """Return the ids of the overdue pages that are lost, and remember the others. The lags were read before."""
        done = {number: OffsetTracker(lag.committed, read_done(lag.metadata)) for number, lag in fetchers.items()}
        unread, unapplied = self._unread, self._unapplied
        self._unread, self._unapplied = {}, {}
        lost = []
        for page in overdue:
            batch, last = _batch_of(page, fetchers)
            last = unread.get(page.batch_id, last)
            results = sink[partition_of(page.property.encode(), len(sink))]
            if page.batch_id in unapplied and _is_past(results, unapplied[page.batch_id]):
                lost.append(page.batch_id)
            elif page.batch_id in unapplied or _is_past(batch, last) or _is_done(page, done):
                self._unapplied[page.batch_id] = unapplied.get(page.batch_id, results.end)
            else:
                self._unread[page.batch_id] = last
        return lost


def _batch_of(page: OverduePage, fetchers: PartitionLags) -> tuple[PartitionLag, int]:
    """Return the partition of a page's batch, and the offset below which the batch is.

    The fetcher that publishes the batch of a next page does not record its position.
    """
    if page.position and page.position.partition in fetchers:
        return fetchers[page.position.partition], page.position.offset + 1
    batch = fetchers[partition_of(page.credential.encode(), len(fetchers))]
    return batch, batch.end


def _is_done(page: OverduePage, done: Mapping[int, OffsetTracker]) -> bool:
    """Return whether the fetchers are done with a page's batch, although batches of others before it are in flight."""
    position = page.position
    return position is not None and position.partition in done and done[position.partition].is_done(position.offset)


def _is_past(partition: PartitionLag, offset: int) -> bool:
    """Return whether the group has committed everything below an offset. A topic that was created again has less."""
    return partition.committed >= min(offset, partition.end)
