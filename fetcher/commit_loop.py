"""The loop that commits offsets, together with the status of each partition, and sets the gauges of the rate limits.

Each successful commit renews the lease on the partitions. An offset that is done and not committed would be called
again after a kill, so a commit follows as soon as a batch has ended.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from fetcher.assignment import Partitions
from fetcher.call_loop import CallLoop
from fetcher.partition_status import Conditions, decide_status, view_of
from fetcher.ports import Ports
from fetcher.rate_limiter import BusiestProperty, Reading
from pipeline.clock import monotonic, now
from pipeline.contracts.partition_status import PartitionStatus
from pipeline.errors import Retryable
from pipeline.log import logger
from pipeline.metrics import clear_gauges, gauge
from pipeline.offsets import OffsetCommit
from pipeline.process import event_or_timeout
from pipeline.watchdog import Heartbeat

REFRESH_EVERY_S = 0.5
"""How often statuses are decided. Not for every batch, since there may be thousands of properties."""
COMMIT_LIMIT_S = 60.0
"""A commit waits for a rebalance, and with it for calls in flight to be drained."""
LIMIT_GAUGES = (
    "gsc_calls_last_minute",
    "gsc_calls_allowed_per_minute",
    "gsc_tokens",
    "gsc_project_calls_last_minute",
    "gsc_project_calls_allowed_per_minute",
)
RENEW_EVERY_S = 2.0
"""How often every partition is committed, with or without news."""

_log = logger(__name__)


class CommitLoop:
    """Commits offsets and statuses of the held partitions: as soon as they change, and at least every RENEW_EVERY_S."""

    def __init__(
        self,
        ports: Ports,
        partitions: Partitions,
        call_loop: CallLoop,
        batch_ended: asyncio.Event,
        drain_s: float,
    ) -> None:
        self._ports = ports
        self._partitions = partitions
        self._call_loop = call_loop
        self._batch_ended = batch_ended
        self._statuses: dict[int, PartitionStatus] = {}
        self._refreshed = self._renewed = float("-inf")
        self.heartbeat = Heartbeat("commit loop", COMMIT_LIMIT_S + drain_s, monotonic())

    async def run(self, stop: asyncio.Event) -> None:
        """Commit until `stop`."""
        while not stop.is_set():
            self.heartbeat.beat(monotonic())
            await event_or_timeout(self._batch_ended, REFRESH_EVERY_S)
            self._batch_ended.clear()
            try:
                await self.commit(monotonic(), now())
            except Retryable as error:
                _log.warning("commit_failed", error=str(error))
                await event_or_timeout(stop, REFRESH_EVERY_S)

    async def commit(self, moment: float, at: datetime) -> None:
        """Commit the partitions with news, or all of them when a renewal is due. Raises Retryable.

        `moment` is on the monotonic clock, `at` on the wall clock.
        """
        if moment - self._refreshed >= REFRESH_EVERY_S:
            self._refreshed = moment
            self._statuses = self.statuses(moment, at)
            limiter = self._partitions.limiter
            _show_limits(limiter.readings(moment), limiter.busiest_property(moment))
        is_due = moment - self._renewed >= RENEW_EVERY_S
        assignment = self._partitions.assignment
        commits = [item for item in assignment.commits(self._statuses) if is_due or assignment.has_news(item)]
        if commits:
            await self._commit(commits)
            self._renewed = moment if is_due else self._renewed

    async def _commit(self, commits: Sequence[OffsetCommit]) -> None:
        await self._ports.member.commit(commits)
        self._partitions.assignment.mark_committed(commits)
        gauge("gsc_batches_uncommitted").set(self._partitions.assignment.uncommitted_calls)

    def statuses(self, moment: float, at: datetime) -> dict[int, PartitionStatus]:
        """Return the status of every held partition."""
        conditions = Conditions(
            at=at,
            monotonic_at=moment,
            blocker=self._call_loop.blocker(moment),
            sink_lag=self._ports.backpressure.lag,
            halts=self._ports.control.halts.active(at),
            outage_of=self._call_loop.outage_of,
        )
        return {number: self._status(number, conditions) for number in self._partitions.assignment.partitions}

    def _status(self, partition: int, conditions: Conditions) -> PartitionStatus:
        progress = self._partitions.assignment.progress(partition, conditions.monotonic_at)
        return decide_status(
            view_of(partition, conditions, progress, self._partitions.schedule, self._partitions.limiter)
        )


def _show_limits(readings: Sequence[Reading], property_: BusiestProperty) -> None:
    """Set the gauges: a series for each credential and project; of the properties, of which may be thousands, one."""
    clear_gauges(LIMIT_GAUGES)
    for reading in readings:
        if reading.kind == "project":
            gauge("gsc_project_calls_last_minute").labels(reading.name).set(reading.calls)
            gauge("gsc_project_calls_allowed_per_minute").labels(reading.name).set(reading.rate_qpm)
            continue
        gauge("gsc_calls_last_minute").labels(reading.name).set(reading.calls)
        gauge("gsc_calls_allowed_per_minute").labels(reading.name).set(reading.rate_qpm)
        gauge("gsc_tokens").labels(reading.name).set(reading.tokens)
    gauge("gsc_property_calls_last_minute_max").set(property_.calls)
    gauge("gsc_property_utilisation_max").set(property_.utilisation)
