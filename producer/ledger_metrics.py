"""Metrics of the ledger: pages and days, the remaining time, and what the pages of each credential wait for.

They are counted in the leader only, over a connection of their own, and each page once.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pipeline.clock import monotonic, now
from pipeline.consumer_lag import Lag
from pipeline.contracts.halts import Halts, credential_scopes
from pipeline.contracts.messages import Control, Priority
from pipeline.contracts.partition_status import PartitionStatus, status_of
from pipeline.errors import Retryable
from pipeline.ledger import days
from pipeline.ledger import pages as ledger_pages
from pipeline.ledger.days import DayCounts, NewestAges
from pipeline.log import logger
from pipeline.metrics import Expiry, clear_gauges, gauge
from pipeline.pacific import pacific_date
from pipeline.postgres import Connect, Connection, has_leader
from pipeline.process import event_or_timeout
from producer.credential_waits import Queue, credential_pages, pages_to_fetch
from producer.queue_shares import halted_scopes

EXPORT_EVERY_S = 15.0
TIME_SHARE = 0.05
"""Largest share of the time spent on counting: a million pending pages take a moment."""
FRESH_S = 60.0
"""How much later than expected new values may come before the old ones are removed."""
RATE_WINDOW_S = 60.0
_BY_CREDENTIAL = (
    "gsc_pending_pages",
    "gsc_published_pages",
    "gsc_unfinished_pages",
    "gsc_oldest_pending_seconds",
    "gsc_credential_waiting",
    "gsc_credential_wait_end_timestamp_seconds",
)
GAUGES = (*_BY_CREDENTIAL, "gsc_ledger_pages", "gsc_drain_seconds", "gsc_ledger_days", "gsc_newest_day_age_days")

_log = logger(__name__)


class CompletionRate:
    """How fast pages are finished, over the last minute. Pure."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def seconds_left(self, now: float, done: int, left: int) -> float:
        """Return seconds until `left` is 0 at the current rate, infinite when it is 0. `done` only grows."""
        self._seen.append((now, done))
        while self._seen[0][0] < now - RATE_WINDOW_S and len(self._seen) > 2:
            self._seen.popleft()
        elapsed, moved = now - self._seen[0][0], done - self._seen[0][1]
        if not left:
            return 0.0
        return left * elapsed / moved if moved > 0 else float("inf")


def seconds_at_quota(pages: Mapping[str, int], allowed_qpm: Callable[[str], float]) -> float:
    """Return seconds until the slowest credential is done when each works at its quota. Pure."""
    return max((60 * count / allowed_qpm(credential) for credential, count in pages.items()), default=0.0)


@dataclass(frozen=True)
class QueueSources:
    """Where a view of the queue comes from, besides the ledger."""

    halts: Iterable[Control]
    """Active halts."""
    projects: Mapping[str, str]
    statuses: Mapping[int, PartitionStatus]
    max_queue_size: int


async def read_queue(conn: Connection, sources: QueueSources) -> Queue:
    """Return the queue with what fills and empties it. Raises Retryable."""
    halts = list(sources.halts)
    properties = halted_scopes(halts, sources.projects).properties
    return Queue(
        groups=await ledger_pages.pending_groups(conn),
        unfinished=await ledger_pages.unfinished(conn, properties),
        halts=halts,
        projects=sources.projects,
        partitions=sources.statuses,
        max_queue_size=sources.max_queue_size,
        has_leader=await has_leader(conn),
    )


@dataclass(frozen=True)
class MetricSources:
    """What the metrics of the queue need besides the ledger."""

    fetchers: Lag
    halts: Halts
    projects: Callable[[], Mapping[str, str]]
    max_queue_size: int
    allowed_qpm: Callable[[str], float]

    async def read(self) -> QueueSources:
        """Return them as they are now. Raises Retryable."""
        statuses = {number: status_of(lag, now()) for number, lag in (await self.fetchers.read()).items()}
        return QueueSources(self.halts.active(now()), self.projects(), statuses, self.max_queue_size)


class LedgerMetrics:
    """Counts the ledger and exports the metrics, while this process leads."""

    def __init__(self, connect: Connect, sources: MetricSources) -> None:
        self._connect = connect
        self._sources = sources
        self._rate = CompletionRate()

    async def run(self, stop: asyncio.Event, _: Connection) -> None:
        """Export until `stop` or until the task is cancelled, and remove the values then, and whenever they are old.

        Raises Fatal.
        """
        expiry = Expiry(GAUGES)
        try:
            while not stop.is_set():
                began = monotonic()
                try:
                    await self.export()
                    taken_s = monotonic() - began
                    rest_s = max(EXPORT_EVERY_S, taken_s / TIME_SHARE)
                    expiry.renew(rest_s + 2 * taken_s + FRESH_S)
                except Retryable as error:
                    rest_s = EXPORT_EVERY_S
                    _log.warning("ledger_not_counted", error=str(error))
                await event_or_timeout(stop, rest_s)
        finally:
            expiry.clear()

    async def export(self) -> None:
        """Count and export everything once. Raises Retryable."""
        queue_sources = await self._sources.read()
        async with self._connect() as conn:
            queue = await read_queue(conn, queue_sources)
            states = await ledger_pages.count_by_state(conn)
            counts, ages = await days.count(conn), await days.newest_ages(conn, pacific_date(now()))
        export_queue(queue)
        export_days(counts, ages)
        for state in ledger_pages.STATES:
            gauge("gsc_ledger_pages").labels(state).set(states.get(state, 0))
        left, done = pages_to_fetch(queue), states.get("applied", 0) + states.get("dead", 0)
        current = self._rate.seconds_left(monotonic(), done, sum(left.values()))
        gauge("gsc_drain_seconds").labels("current").set(current)
        gauge("gsc_drain_seconds").labels("quota").set(seconds_at_quota(left, self._sources.allowed_qpm))


def export_queue(queue: Queue) -> None:
    """Set the gauges by credential. A credential without unfinished pages has no value."""
    clear_gauges(_BY_CREDENTIAL)
    for pages in credential_pages(queue):
        gauge("gsc_pending_pages").labels(pages.credential).set(pages.pending)
        gauge("gsc_published_pages").labels(pages.credential).set(pages.published)
        gauge("gsc_unfinished_pages").labels(pages.credential).set(pages.pending + pages.published)
        if pages.wait.kind:
            gauge("gsc_credential_waiting").labels(pages.credential, pages.wait.kind).set(1)
        if pages.wait.until:
            end = gauge("gsc_credential_wait_end_timestamp_seconds").labels(pages.credential)
            end.set(pages.wait.until.timestamp())
    oldest: dict[tuple[str, Priority], float] = {}
    for item in queue.unfinished:
        labels = (item.credential, item.priority)
        oldest[labels] = max(oldest.get(labels, 0.0), item.age_s)
    for labels, age_s in oldest.items():
        gauge("gsc_oldest_pending_seconds").labels(*labels).set(age_s)


def export_days(counts: DayCounts, ages: NewestAges) -> None:
    """Set the gauges of days."""
    for kind, count in counts._asdict().items():
        gauge("gsc_ledger_days").labels(kind).set(count)
    for series, age in ages._asdict().items():
        gauge("gsc_newest_day_age_days").labels(series).set(float("nan") if age is None else age)


def export_halted(halts: Halts, projects: Mapping[str, str]) -> None:
    """Set the gauge of halted credentials: those of halted projects, too, and all while everything is halted."""
    clear_gauges(["gsc_credential_halted"])
    for credential, project in projects.items():
        if halt := halts.blocking(credential_scopes(credential, project), now()):
            gauge("gsc_credential_halted").labels(credential, halt.cause).set(1)
