"""Backpressure: the fetcher starts no call while the sink is too far behind."""

import asyncio

from pipeline.clock import monotonic
from pipeline.consumer_lag import Lag
from pipeline.errors import Retryable
from pipeline.log import logger
from pipeline.metrics import gauge
from pipeline.process import event_or_timeout
from pipeline.watchdog import Heartbeat


class LagThreshold:
    """Pauses at a lag of `pause_at` messages or more, and resumes when the lag is below `resume_below`.

    With two thresholds, a lag that varies around one number does not pause and resume at every reading.
    """

    def __init__(self, pause_at: int, resume_below: int) -> None:
        self._pause_at = pause_at
        self._resume_below = resume_below
        self.paused = False

    def update(self, lag: int) -> bool:
        """Record a reading of the lag, in messages, and return whether work is paused."""
        self.paused = lag >= (self._resume_below if self.paused else self._pause_at)
        return self.paused


WARN_AT = 500
PAUSE_AT = 800
RESUME_BELOW = 500
READ_EVERY_S = 1.0
READ_LIMIT_S = 90.0
"""A reading is four requests to Kafka."""

_log = logger(__name__)


class SinkBackpressure:
    """Reads the sink's lag every second, and decides from it whether calls may start."""

    def __init__(self, lag: Lag) -> None:
        self._lag = lag
        self._threshold = LagThreshold(PAUSE_AT, RESUME_BELOW)
        self.heartbeat = Heartbeat("reader of the sink's lag", READ_LIMIT_S, monotonic())
        self.lag = 0
        """Messages, at the last reading."""

    @property
    def paused(self) -> bool:
        """True while no call may start."""
        return self._threshold.paused

    async def watch(self, stop: asyncio.Event) -> None:
        """Read the lag until `stop`. While it cannot be read, the last reading holds."""
        while not await event_or_timeout(stop, READ_EVERY_S):
            self.heartbeat.beat(monotonic())
            try:
                self.update(await self._lag.total())
            except Retryable as error:
                _log.warning("sink_lag_unreadable", error=str(error))

    def update(self, lag: int) -> None:
        """Record a reading of the lag, in messages; logs when a threshold is crossed."""
        if lag >= WARN_AT > self.lag:
            _log.warning("sink_behind", lag=lag)
        self.lag = lag
        gauge("gsc_sink_lag_messages").set(lag)
        was_paused = self.paused
        if self._threshold.update(lag) != was_paused:
            _log.warning("backpressure", paused=self.paused, lag=lag)
