"""The highest value of the last minute, such as the longest pause. Pure: time, in seconds, is an argument."""

from collections import deque

MINUTE_S = 60.0


class MinuteMaximum:
    """The highest of the values of the last minute."""

    def __init__(self) -> None:
        self._values: deque[tuple[float, float]] = deque()
        """Times and values. Each value is lower than those before it: others can never be the highest again."""

    def add(self, value: float, now: float) -> None:
        """Add a value."""
        while self._values and self._values[-1][1] <= value:
            self._values.pop()
        self._values.append((now, value))

    def value(self, now: float) -> float:
        """Return the highest value of the last minute; 0 without any."""
        while self._values and self._values[0][0] <= now - MINUTE_S:
            self._values.popleft()
        return self._values[0][1] if self._values else 0.0
