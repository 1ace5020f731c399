"""Finds pages that were published and are in no queue any more, and makes them pending again."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.consumer_lag import Lag
from pipeline.contracts.identity import DEDUPLICATION_S
from pipeline.contracts.records import OverduePage, PartitionLag
from pipeline.ledger import pages as ledger_pages
from pipeline.log import logger
from pipeline.postgres import Connection
from pipeline.process import event_or_timeout

SEARCH_EVERY_S = 30.0
OVERDUE_S = DEDUPLICATION_S + 300.0
"""Age from which a page without a result may be lost. Longer than any fetcher remembers the batch id, so that the
republished batch is not dropped as a duplicate."""

_log = logger(__name__)


@dataclass(frozen=True)
class Lags:
    """The lag of the groups behind the producer."""

    fetchers: Lag
    sink: Lag


class LostPages:
    """Searches the ledger for lost pages."""

    def __init__(self, lags: Lags) -> None:
        self._lags = lags
        self._suspects: set[str] = set()

    async def run(self, stop: asyncio.Event, conn: Connection) -> None:
        """Search regularly until `stop`. Raises Retryable and Fatal."""
        while not await event_or_timeout(stop, SEARCH_EVERY_S):
            await self.search(conn)

    async def search(self, conn: Connection) -> None:
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
