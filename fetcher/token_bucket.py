"""Token buckets that belong to the owner of a partition. Pure: time is an argument, on a monotonic clock.

A bucket starts empty. With rate r (tokens a second) and burst b, any window of 60 s therefore holds at most `b + 60 r`
calls, through any number of changes of the owner. Rates are chosen so that `b + 60 r <= headroom x quota`.
"""

from math import sqrt

from pipeline.minute_maximum import MINUTE_S

CUT = 0.5
CLIMB_S = 20.0
"""From the first success after a cut until the rate is back at its ceiling."""
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


class TokenBucket:
    """Tokens of one scope. Congestion cuts the rate; from the next success on it climbs to the ceiling, in time."""

    __slots__ = ("_blocked_until", "_burst", "_ceiling", "_climb", "_cut_at", "_rate", "_tokens", "_updated")

    def __init__(self, rate: float, burst: float, since: float) -> None:
        self._ceiling = self._rate = rate
        self._burst = burst
        self._tokens = 0.0
        self._updated = since
        self._blocked_until = since
        self._cut_at = float("-inf")
        self._climb = 0.0
        """By how much the rate grows in a second; 0 at the ceiling, and after a cut until a call succeeds."""

    def wait(self, now: float) -> float:
        """Return the seconds until a token is available; 0 when one is. A bucket with rate 0 waits for another rate."""
        self._refill(now)
        missing = self._time_for(1.0 - self._tokens) if self._tokens < _ONE else 0.0
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
        climbing = min(elapsed, self._climb_s())
        rate = self._rate + climbing * self._climb
        earned = climbing * (self._rate + rate) / 2 + (elapsed - climbing) * rate
        if self._climb and climbing < elapsed:
            rate, self._climb = self._ceiling, 0.0
        self._rate = rate
        self._tokens = min(self._burst, self._tokens + earned)
        self._updated = max(now, self._updated)

    def _climb_s(self) -> float:
        """Return for how long the rate still climbs."""
        return max(0.0, self._ceiling - self._rate) / self._climb if self._climb else 0.0

    def _time_for(self, tokens: float) -> float:
        """Return the seconds in which this number of tokens is earned."""
        if not self._ceiling:
            return MINUTE_S
        climb_s = self._climb_s()
        earned = climb_s * (self._rate + self._ceiling) / 2
        if not climb_s or tokens >= earned:
            return climb_s + (tokens - earned) / (self._ceiling if climb_s else self._rate)
        return (sqrt(self._rate**2 + 2 * self._climb * tokens) - self._rate) / self._climb

    def cut(self, started: float, now: float, retry_after: float | None) -> None:
        """Slow down after the refusal of a call: cut the rate, drop the tokens, and block for `retry_after` seconds.

        Calls that were in flight at a cut and are refused later belong to the same congestion: they cut nothing.
        """
        self._refill(now)
        self._blocked_until = max(self._blocked_until, now + (retry_after or 0.0))
        if started <= self._cut_at:
            return
        self._rate = max(self._rate * CUT, self._ceiling * FLOOR)
        self._tokens = min(self._tokens, 0.0)
        self._climb = 0.0
        self._cut_at = now

    def recover(self, started: float, now: float) -> None:
        """Let the rate climb to its ceiling within CLIMB_S, after the success of a call that started after the cut."""
        self._refill(now)
        if not self._climb and self._rate < self._ceiling and started > self._cut_at:
            self._climb = (self._ceiling - self._rate) / CLIMB_S

    def resize(self, rate: float, burst: float, now: float) -> None:
        """Change ceiling and burst. A cut of the rate stays in proportion; tokens above the new burst are dropped."""
        self._refill(now)
        slowed = self._rate / self._ceiling if self._ceiling else 1.0
        self._climb *= rate / self._ceiling if self._ceiling else 0.0
        self._rate = rate * slowed
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
