"""Which published pages are owed again: the one way back for everything that was lost on its way. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.contracts.identity import REMEMBERED_S
from pipeline.contracts.records import PartitionLag, Position

OVERDUE_S = REMEMBERED_S + 300.0
"""Later than any owner remembers the batch, so that it is not dropped as a repeat."""


@dataclass(frozen=True)
class Overdue:
    """A page that was published long ago and has no result; where its batch lies, if that is known."""

    batch_id: str
    position: Position | None


def lost(pages: Iterable[Overdue], fetchers: Mapping[int, PartitionLag], sink_lag: int) -> set[str]:
    """Ids of pages that no fetcher will work on any more, while the sink has told all it knows.

    Of a page that a fetcher published, as the next of a full one, the place is not known: it is behind the group when
    the group has read everything.
    """
    if sink_lag:
        return set()
    all_read = not any(partition.lag for partition in fetchers.values())
    return {page.batch_id for page in pages if all_read or _is_behind(page, fetchers)}


def _is_behind(page: Overdue, fetchers: Mapping[int, PartitionLag]) -> bool:
    if page.position is None or page.position.partition not in fetchers:
        return False
    return page.position.offset < fetchers[page.position.partition].committed
