"""Metrics of the whole pipeline: the lag of every group, the status of every partition, and halted credentials."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from pipeline.clock import monotonic, now
from pipeline.consumer_lag import Lag
from pipeline.contracts.partition_status import STATES, status_of
from pipeline.contracts.records import PartitionLag, Record
from pipeline.errors import Retryable
from pipeline.log import logger
from pipeline.metrics import Expiry, gauge
from pipeline.process import event_or_timeout
from pipeline.topic_reader import OffsetRange, TopicReader
from pipeline.watchdog import Heartbeat

EXPORT_EVERY_S = 10.0
FRESH_S = 60.0
LAG_GAUGES = ("gsc_lag_messages", "gsc_lag_seconds", "gsc_partition_state")
_log = logger(__name__)


@dataclass(frozen=True)
class WatchedGroup:
    """A consumer group, its lag, and a way to read its topic."""

    group: str
    lag: Lag
    open_topic: Callable[[], AbstractAsyncContextManager[TopicReader]]


class LagExporter:
    """Reads the lags, and sets the gauges. Every replica of the producer exports the same values.

    What could not be read for FRESH_S is not exported: an old value would hide an alert, or raise a false one.
    """

    def __init__(
        self, fetchers: WatchedGroup, others: Sequence[WatchedGroup], export_halted: Callable[[], None]
    ) -> None:
        self._fetchers = fetchers
        self._others = others
        self._export_halted = export_halted

    async def run(self, stop: asyncio.Event, heartbeat: Heartbeat) -> None:
        """Export until `stop`. Continues when servers come back."""
        expiry = Expiry(LAG_GAUGES)
        while not stop.is_set():
            heartbeat.beat(monotonic())
            self._export_halted()
            try:
                await self.export()
                expiry.renew(FRESH_S)
            except Retryable as error:
                _log.warning("not_observed", error=str(error))
            await event_or_timeout(stop, EXPORT_EVERY_S)

    async def export(self) -> None:
        """Read and set everything once. Raises Retryable."""
        batches = await self._export_lag(self._fetchers)
        for watched in self._others:
            await self._export_lag(watched)
        _export_states(batches)
        gauge("gsc_observed_timestamp_seconds").set(now().timestamp())

    async def _export_lag(self, watched: WatchedGroup) -> dict[int, PartitionLag]:
        lags = await watched.lag.read()
        waiting = {n: OffsetRange(lag.committed, lag.committed + 1) for n, lag in lags.items() if lag.lag}
        oldest = {record.partition: _age_s(record) for record in await _first_of_each(watched, waiting)}
        for number, lag in lags.items():
            gauge("gsc_lag_messages").labels(watched.group, number).set(lag.lag)
            gauge("gsc_lag_seconds").labels(watched.group, number).set(oldest.get(number, 0.0))
        return lags


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
