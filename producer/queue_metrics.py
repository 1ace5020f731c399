"""Metrics of the pages that each credential has pending and published. Only the replica that publishes has them."""

import asyncio
from collections.abc import Iterable

from pipeline.clock import monotonic
from pipeline.contracts.messages import Priority
from pipeline.contracts.records import UnfinishedPages
from pipeline.errors import Retryable
from pipeline.ledger import pages as ledger_pages
from pipeline.log import logger
from pipeline.metrics import clear_gauges, gauge
from pipeline.postgres import Connect, Connection
from pipeline.process import event_or_timeout

EXPORT_EVERY_S = 15.0
TIME_SHARE = 0.05
"""Largest share of the time spent on counting: a million pending pages take a moment."""
_GAUGES = ("gsc_pending_pages", "gsc_published_pages", "gsc_oldest_pending_seconds")

_log = logger(__name__)


class QueueMetrics:
    """Counts unfinished pages, over a connection of its own."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect

    async def run(self, stop: asyncio.Event, _: Connection) -> None:
        """Export until `stop` or until the task is cancelled, and remove the values then, and whenever they are old.

        Raises Fatal.
        """
        try:
            while not stop.is_set():
                began = monotonic()
                await self._export()
                await event_or_timeout(stop, max(EXPORT_EVERY_S, (monotonic() - began) / TIME_SHARE))
        finally:
            clear_gauges(_GAUGES)

    async def _export(self) -> None:
        try:
            async with self._connect() as conn:
                export_unfinished(await ledger_pages.unfinished(conn))
        except Retryable as error:
            clear_gauges(_GAUGES)
            _log.warning("queue_not_counted", error=str(error))


def export_unfinished(groups: Iterable[UnfinishedPages]) -> None:
    """Set the gauges. A credential without unfinished pages has no value."""
    clear_gauges(_GAUGES)
    oldest: dict[tuple[str, Priority], float] = {}
    for group in groups:
        gauge("gsc_pending_pages").labels(group.credential).inc(group.pending)
        gauge("gsc_published_pages").labels(group.credential).inc(group.published)
        labels = (group.credential, group.priority)
        oldest[labels] = max(oldest.get(labels, 0.0), group.age_s)
    for labels, age_s in oldest.items():
        gauge("gsc_oldest_pending_seconds").labels(*labels).set(age_s)
