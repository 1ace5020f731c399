"""Token buckets that live with the owner of a partition. Pure: time comes in, on a monotonic clock.

A bucket starts empty, so for rate r and burst b any window of 60 s holds at most `b + 60 r` calls, through any number
of hand-overs between owners. Rates are chosen so that `b + 60 r <= headroom x quota`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.errors import Invalid

MINUTE_S = 60.0
SPREAD_S = 1.0
"""How much later one call may reach the server than another that was granted at the same time. The server's own window
of 60 s can hold the calls that we granted in 60 s and this much more; the rate is lowered by it."""
_WHOLE = 1.0 - 1e-9  # a token: sums of floats never quite arrive at 1
CUT = 0.5
CLIMB_PER_CALL = 0.002  # of the ceiling: from half back to the ceiling in 250 calls, some 15 s at the quota
FLOOR = 0.02  # of the ceiling: one call in a while finds out whether the quota is back


@dataclass(frozen=True)
class QuotaLimits:
    """Quotas in queries a minute; `headroom` is the share of them that we use, `burst` in calls."""

    site_qpm: int
    user_qpm: int
    project_qpm: int
    headroom: float
    burst: int
    site_qps: float | None = None
    site_overrides: Mapping[str, int] = field(default_factory=dict)
    user_overrides: Mapping[str, int] = field(default_factory=dict)

    def check(self) -> None:
        """Raise Invalid with the numbers when a limit cannot hold."""
        named = [
            ("GSC_SITE_QPM", self.site_qpm),
            ("GSC_USER_QPM", self.user_qpm),
            ("GSC_PROJECT_QPM", self.project_qpm),
        ]
        named += [(f"site_qpm of {name}", qpm) for name, qpm in self.site_overrides.items()]
        named += [(f"user_qpm of {name}", qpm) for name, qpm in self.user_overrides.items()]
        for name, qpm in named:
            rate_per_s(qpm, self.headroom, self.burst, name)


def rate_per_s(qpm: float, headroom: float, burst: float, name: str = "quota") -> float:
    """The rate at which `burst + 60 x rate` stays within the headroom; raises Invalid when there is none."""
    allowed = qpm * headroom
    rate = (allowed - burst) / (MINUTE_S + SPREAD_S)
    if rate <= 0:
        raise Invalid(
            f"{qpm} a minute x headroom {headroom} = {allowed:g} leaves nothing beside a burst of {burst:g}", field=name
        )
    return rate


class MinuteCounter:
    """Calls in the last minute, in slots of a second: so of the last 59 to 60 seconds."""

    __slots__ = ("_counts", "_newest", "_total")

    def __init__(self) -> None:
        self._counts = [0] * int(MINUTE_S)
        self._newest = 0
        self._total = 0

    def add(self, now: float) -> None:
        """Count a call."""
        self._turn(int(now))
        self._counts[int(now) % len(self._counts)] += 1
        self._total += 1

    def calls(self, now: float) -> int:
        """How many there were."""
        self._turn(int(now))
        return self._total

    def _turn(self, second: int) -> None:
        slots = len(self._counts)
        for stale in range(max(self._newest + 1, second - slots + 1), second + 1):
            self._total -= self._counts[stale % slots]
            self._counts[stale % slots] = 0
        self._newest = max(self._newest, second)


class TokenBucket:
    """AccessTokens of one scope; learns from refusals by cutting its rate, and climbs back with success."""

    __slots__ = ("_blocked_until", "_burst", "_ceiling", "_rate", "_tokens", "_updated")

    def __init__(self, rate: float, burst: float, since: float) -> None:
        self._ceiling = self._rate = rate
        self._burst = burst
        self._tokens = 0.0
        self._updated = since
        self._blocked_until = since

    def wait(self, now: float) -> float:
        """Seconds until a token is there; 0 when one is."""
        self._mint(now)
        missing = (1.0 - self._tokens) / self._rate if self._tokens < _WHOLE else 0.0
        return max(missing, self._blocked_until - now, 0.0)

    def tokens(self, now: float) -> float:
        """Calls that could start at once."""
        self._mint(now)
        return self._tokens

    def take(self) -> None:
        """Spend a token; `wait` was 0."""
        self._tokens -= 1.0

    def _mint(self, now: float) -> None:
        elapsed = max(0.0, now - self._updated)
        self._tokens = min(self._burst, self._tokens + elapsed * self._rate)
        self._updated = max(now, self._updated)

    def cut(self, now: float, retry_after: float | None) -> None:
        """The quota refused: slower from now on, nothing for as long as it asked, and no tokens left."""
        self._mint(now)
        self._rate = max(self._rate * CUT, self._ceiling * FLOOR)
        self._tokens = min(self._tokens, 0.0)
        self._blocked_until = max(self._blocked_until, now + (retry_after or 0.0))

    def climb(self) -> None:
        """A call succeeded."""
        self._rate = min(self._ceiling, self._rate + self._ceiling * CLIMB_PER_CALL)

    def resize(self, rate: float, burst: float, now: float) -> None:
        """Another share from now on; what is above the new burst is gone."""
        self._mint(now)
        self._rate *= rate / self._ceiling  # what was learned still holds
        self._ceiling = rate
        self._burst = burst
        self._tokens = min(self._tokens, burst)

    @property
    def rate(self) -> float:
        """AccessTokens a second, now."""
        return self._rate

    @property
    def ceiling(self) -> float:
        """AccessTokens a second at most."""
        return self._ceiling
