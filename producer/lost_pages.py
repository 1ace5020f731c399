"""Which published pages are owed again: the one way back for everything that was lost on its way. Pure."""

from collections.abc import Iterable, Mapping

from pipeline.contracts.identity import DEDUPLICATION_S
from pipeline.contracts.records import OverduePage, PartitionLag

OVERDUE_S = DEDUPLICATION_S + 300.0
"""Later than any owner remembers the batch, so that it is not dropped as a repeat."""


def lost(pages: Iterable[OverduePage], fetchers: Mapping[int, PartitionLag], sink_lag: int) -> set[str]:
    """Ids of pages that no fetcher will work on any more, while the sink has told all it knows.

    Of a page that a fetcher published, as the next of a full one, the place is not known: it is behind the group when
    the group has read everything.
    """
    if sink_lag:
        return set()
    all_read = not any(partition.lag for partition in fetchers.values())
    return {page.batch_id for page in pages if all_read or _is_behind(page, fetchers)}


def _is_behind(page: OverduePage, fetchers: Mapping[int, PartitionLag]) -> bool:
    if page.position is None or page.position.partition not in fetchers:
        return False
    return page.position.offset < fetchers[page.position.partition].committed
