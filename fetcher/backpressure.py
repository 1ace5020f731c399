"""Backpressure: no new calls while the sink is behind."""

import asyncio
from typing import Protocol

from pipeline.errors import Retryable
from pipeline.log import logger
from pipeline.metrics import gauge
from pipeline.process import sleep_or_stop

WARN = 500
STOP = 800
GO_ON_BELOW = 500
EVERY_S = 1.0

_log = logger(__name__)


class Lag(Protocol):
    """Something that can be behind."""

    async def total(self) -> int:
        """Messages behind."""


def closed_at(lag: int, closed: bool) -> bool:
    """Whether no call may start: from STOP on, until it is below GO_ON_BELOW."""
    return lag >= STOP or (closed and lag >= GO_ON_BELOW)


class SinkBackpressure:
    """Looks at the sink's lag every second."""

    def __init__(self, lag: Lag) -> None:
        self._lag = lag
        self.closed = False
        """True while no call may start."""
        self.lag = 0
        """Messages, at the last look."""

    async def watch(self, stop: asyncio.Event) -> None:
        """Look until `stop`; when the lag cannot be read, the last look holds."""
        warned = False
        while not await sleep_or_stop(stop, EVERY_S):
            try:
                lag = await self._lag.total()
            except Retryable as error:
                _log.warning("sink_lag_unreadable", error=str(error))
                continue
            self.lag = lag
            gauge("gsc_sink_lag_messages").set(lag)
            if lag >= WARN and not warned:
                _log.warning("sink_behind", lag=lag)
            warned = lag >= WARN
            if (closed := closed_at(lag, self.closed)) != self.closed:
                self.closed = closed
                _log.warning("backpressure", closed=closed, lag=lag)
