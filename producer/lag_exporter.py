"""Metrics of the whole pipeline: lag of every group, status of every partition, the ledger, and the remaining time."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from pipeline.clock import monotonic, now
from pipeline.consumer_lag import Lag
from pipeline.contracts.partition_status import STATES, status_of
from pipeline.contracts.records import PartitionLag, Record
from pipeline.errors import Retryable
from pipeline.ledger import pages as ledger_pages
from pipeline.log import logger
from pipeline.metrics import clear_gauges, gauge
from pipeline.pacific import pacific_date
from pipeline.postgres import Connect, Connection, database_errors, queries
from pipeline.process import event_or_timeout
from pipeline.topic_reader import OffsetRange, TopicReader
from pipeline.watchdog import Heartbeat

EXPORT_EVERY_S = 10.0
RATE_WINDOW_S = 60.0
FRESH_S = 60.0
LAG_GAUGES = ("gsc_lag_messages", "gsc_lag_seconds", "gsc_partition_state")
LEDGER_GAUGES = (
    "gsc_ledger_pages",
    "gsc_drain_seconds",
    "gsc_ledger_days",
    "gsc_newest_day_age_days",
)
LEDGER_SHARE = 0.05
"""Largest share of the time spent on ledger queries: counting millions of pages takes a while."""
DAY_KINDS = ("complete", "pending", "truncated", "may_change", "vanished_kept")
_SQL = queries("producer", "lag_exporter.sql")
_log = logger(__name__)


@dataclass(frozen=True)
class WatchedGroup:
    """A consumer group, its lag, and a way to read its topic."""

    group: str
    lag: Lag
    open_topic: Callable[[], AbstractAsyncContextManager[TopicReader]]


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


def seconds_at_quota(pending: Mapping[str, int], allowed_qpm: Callable[[str], float]) -> float:
    """Return seconds until the slowest credential is done when each works at its quota. Pure."""
    return max((60 * pages / allowed_qpm(credential) for credential, pages in pending.items()), default=0.0)


class LagExporter:
    """Reads lag and ledger, and sets the gauges. Every replica of the producer exports the same values.

    What could not be read for FRESH_S is not exported: an old value would hide an alert, or raise a false one.
    """

    def __init__(
        self,
        fetchers: WatchedGroup,
        others: Sequence[WatchedGroup],
        connect: Connect,
        allowed_qpm: Callable[[str], float],
    ) -> None:
        self._fetchers = fetchers
        self._others = others
        self._connect = connect
        self._allowed_qpm = allowed_qpm
        self._rate = CompletionRate()
        self._lag_read = self._ledger_due = monotonic()

    async def run(self, stop: asyncio.Event, heartbeat: Heartbeat) -> None:
        """Export until `stop`. Continues when servers come back."""
        while not stop.is_set():
            heartbeat.beat(monotonic())
            try:
                await self.export()
            except Retryable as error:
                _log.warning("not_observed", error=str(error))
                self.clear_stale(monotonic())
            await event_or_timeout(stop, EXPORT_EVERY_S)

    async def export(self) -> None:
        """Read and set everything once. Raises Retryable."""
        batches = await self._export_lag(self._fetchers)
        for watched in self._others:
            await self._export_lag(watched)
        _export_states(batches)
        self._lag_read = monotonic()
        if monotonic() >= self._ledger_due:
            await self._export_ledger()
        gauge("gsc_observed_timestamp_seconds").set(now().timestamp())

    def clear_stale(self, moment: float) -> None:
        """Remove the gauges whose values are older than FRESH_S."""
        if moment - self._lag_read > FRESH_S:
            clear_gauges(LAG_GAUGES)
        if moment - self._ledger_due > FRESH_S:
            clear_gauges(LEDGER_GAUGES)

    async def _export_lag(self, watched: WatchedGroup) -> dict[int, PartitionLag]:
        lags = await watched.lag.read()
        waiting = {n: OffsetRange(lag.committed, lag.committed + 1) for n, lag in lags.items() if lag.lag}
        oldest = {record.partition: _age_s(record) for record in await _first_of_each(watched, waiting)}
        for number, lag in lags.items():
            gauge("gsc_lag_messages").labels(watched.group, number).set(lag.lag)
            gauge("gsc_lag_seconds").labels(watched.group, number).set(oldest.get(number, 0.0))
        return lags

    async def _export_ledger(self) -> None:
        began = monotonic()
        async with self._connect() as conn, database_errors():
            await self._export_pages(conn)
            await _export_days(conn)
        self._ledger_due = began + (monotonic() - began) / LEDGER_SHARE

    async def _export_pages(self, conn: Connection) -> None:
        pages: dict[str, int] = dict(await (await conn.execute(_SQL["pages"])).fetchall())
        for state in ledger_pages.STATES:
            gauge("gsc_ledger_pages").labels(state).set(pages.get(state, 0))
        left: Counter[str] = Counter()
        for group in await ledger_pages.unfinished(conn):
            left[group.credential] += group.pending + group.published
        done = pages.get("applied", 0) + pages.get("dead", 0)
        gauge("gsc_drain_seconds").labels("current").set(self._rate.seconds_left(monotonic(), done, left.total()))
        gauge("gsc_drain_seconds").labels("quota").set(seconds_at_quota(left, self._allowed_qpm))


async def _export_days(conn: Connection) -> None:
    days = await (await conn.execute(_SQL["days"])).fetchone() or (0,) * len(DAY_KINDS)
    for kind, count in zip(DAY_KINDS, days, strict=True):
        gauge("gsc_ledger_days").labels(kind).set(count)
    today = pacific_date(now())
    last, middle = await (await conn.execute(_SQL["newest_days"], {"today": today})).fetchone() or (None, None)
    for series, age in (("last", last), ("middle", middle)):
        gauge("gsc_newest_day_age_days").labels(series).set(float("nan") if age is None else age)


def _export_states(batches: Mapping[int, PartitionLag]) -> None:
    for number, lag in batches.items():
        current = status_of(lag, now()).state
        for state in STATES:
            gauge("gsc_partition_state").labels(number, state).set(int(state == current))


def _age_s(record: Record) -> float:
    return max(0.0, now().timestamp() - record.timestamp_ms / 1000)


async def _first_of_each(watched: WatchedGroup, spans: Mapping[int, OffsetRange]) -> list[Record]:
    if not spans:
        return []
    async with watched.open_topic() as reader:
        return [record async for records in reader.records(spans) for record in records]
