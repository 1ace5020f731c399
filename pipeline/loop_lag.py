"""How long the event loop of the process pauses: a long step of one task delays every other, such as heartbeats."""

import asyncio
from collections import deque

from pipeline.clock import monotonic
from pipeline.metrics import gauge
from pipeline.process import event_or_timeout

MEASURE_EVERY_S = 0.02
WINDOW_S = 60.0


class LongestPause:
    """The longest of the pauses within WINDOW_S."""

    def __init__(self) -> None:
        self._pauses: deque[tuple[float, float]] = deque()
        """Times and lengths. A pause that is followed by a longer one is left out, so the first is the longest."""

    def record(self, now: float, pause: float) -> float:
        """Record a pause that ends now, and return the longest."""
        while self._pauses and self._pauses[-1][1] <= pause:
            self._pauses.pop()
        self._pauses.append((now, pause))
        while self._pauses[0][0] < now - WINDOW_S:
            self._pauses.popleft()
        return self._pauses[0][1]


async def measure_loop_lag(stop: asyncio.Event) -> None:
    """Set the gauge until `stop`."""
    longest = LongestPause()
    while not stop.is_set():
        due = monotonic() + MEASURE_EVERY_S
        await event_or_timeout(stop, MEASURE_EVERY_S)
        now = monotonic()
        gauge("gsc_event_loop_lag_seconds").set(longest.record(now, max(0.0, now - due)))
