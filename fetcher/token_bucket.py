"""Token buckets that belong to the owner of a partition. Pure: time is an argument, on a monotonic clock.

A bucket starts empty. With rate r (tokens a second) and burst b, any window of 60 s therefore holds at most `b + 60 r`
calls, through any number of changes of the owner. Rates are chosen so that `b + 60 r <= headroom x quota`.
"""

from collections import deque

MINUTE_S = 60.0
CUT = 0.5
CLIMB_PER_CALL = 0.002  # of the ceiling: from half back to the ceiling in 250 calls, some 15 s at the quota
FLOOR = 0.02  # of the ceiling: an occasional call finds out whether the quota is available again

_ONE = 1.0 - 1e-9  # a token: sums of floats never quite reach 1


class MinuteCounter:
    """Calls of the last minute, in slots of a second: so of the last 59 to 60 seconds."""

    __slots__ = ("_counts", "_newest", "_total")

    def __init__(self) -> None:
        self._counts = [0] * int(MINUTE_S)
        self._newest = 0
        self._total = 0

    def add(self, now: float) -> None:
        """Count a call."""
        self._advance(int(now))
        self._counts[int(now) % len(self._counts)] += 1
        self._total += 1

    def calls(self, now: float) -> int:
        """Return the number of calls of the last minute."""
        self._advance(int(now))
        return self._total

    def _advance(self, second: int) -> None:
        """Clear the slots of seconds that are more than a minute ago."""
        slots = len(self._counts)
        for expired in range(max(self._newest + 1, second - slots + 1), second + 1):
            self._total -= self._counts[expired % slots]
            self._counts[expired % slots] = 0
        self._newest = max(self._newest, second)


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


class TokenBucket:
    """Tokens of one scope. A refusal cuts the rate, and each success raises it again up to the ceiling."""

    __slots__ = ("_blocked_until", "_burst", "_ceiling", "_rate", "_tokens", "_updated")

    def __init__(self, rate: float, burst: float, since: float) -> None:
        self._ceiling = self._rate = rate
        self._burst = burst
        self._tokens = 0.0
        self._updated = since
        self._blocked_until = since

    def wait(self, now: float) -> float:
        """Return the seconds until a token is available; 0 when one is."""
        self._refill(now)
        missing = (1.0 - self._tokens) / self._rate if self._tokens < _ONE else 0.0
        return max(missing, self._blocked_until - now, 0.0)

    def tokens(self, now: float) -> float:
        """Return the number of tokens available."""
        self._refill(now)
        return self._tokens

    def take(self) -> None:
        """Take a token; only to be called when `wait` is 0."""
        self._tokens -= 1.0

    def _refill(self, now: float) -> None:
        elapsed = max(0.0, now - self._updated)
        self._tokens = min(self._burst, self._tokens + elapsed * self._rate)
        self._updated = max(now, self._updated)

    def cut(self, now: float, retry_after: float | None) -> None:
        """Slow down after a refusal: cut the rate, drop the tokens, and block for `retry_after` seconds."""
        self._refill(now)
        self._rate = max(self._rate * CUT, self._ceiling * FLOOR)
        self._tokens = min(self._tokens, 0.0)
        self._blocked_until = max(self._blocked_until, now + (retry_after or 0.0))

    def climb(self) -> None:
        """Raise the rate a little after a call has succeeded."""
        self._rate = min(self._ceiling, self._rate + self._ceiling * CLIMB_PER_CALL)

    def resize(self, rate: float, burst: float, now: float) -> None:
        """Change ceiling and burst. A cut of the rate stays in proportion; tokens above the new burst are dropped."""
        self._refill(now)
        self._rate *= rate / self._ceiling
        self._ceiling = rate
        self._burst = burst
        self._tokens = min(self._tokens, burst)

    @property
    def rate(self) -> float:
        """Tokens a second, now."""
        return self._rate

    @property
    def ceiling(self) -> float:
        """Tokens a second at most."""
        return self._ceiling
