"""Whether the loops of a service make progress. Pure: time, in seconds of the monotonic clock, is an argument."""

from collections.abc import Iterable

TICK_S = 1.0
FROZEN_S = 5.0
"""A watchdog that was called later than this was frozen with its process, and no loop is to blame."""
EXIT_AFTER_S = 30.0
"""Time after which a process with a stalled loop ends itself, when nothing that reads /live has ended it."""


class Heartbeat:
    """When something last made progress, and how long it may take at most."""

    def __init__(self, name: str, limit_s: float, now: float) -> None:
        self._name = name
        self._limit_s = limit_s
        self._at = now

    def beat(self, now: float) -> None:
        """Record progress."""
        self._at = max(self._at, now)

    def stalled(self, now: float) -> str | None:
        """Return what has made no progress and for how long, or None within the limit."""
        silent = now - self._at
        return f"{self._name}: no progress for {silent:.0f} s" if silent > self._limit_s else None


class Watchdog:
    """Watches heartbeats. `tick` must be called every TICK_S seconds."""

    def __init__(self, heartbeats: Iterable[Heartbeat], now: float) -> None:
        self._heartbeats = list(heartbeats)
        self._ticked = now

    def tick(self, now: float) -> None:
        """Note that the process runs; after it was frozen, every loop begins anew."""
        if now - self._ticked > FROZEN_S:
            for heartbeat in self._heartbeats:
                heartbeat.beat(now)
        self._ticked = now

    def stalled(self, now: float) -> str | None:
        """Return the first loop without progress and for how long, or None."""
        if now - self._ticked > FROZEN_S:
            return None
        return next(filter(None, (heartbeat.stalled(now) for heartbeat in self._heartbeats)), None)

    def expired(self, now: float) -> str | None:
        """As `stalled`, of a loop that is EXIT_AFTER_S beyond its limit."""
        return self.stalled(now - EXIT_AFTER_S) and self.stalled(now)
