"""Token buckets that live with the owner of a partition. Pure: time comes in, on a monotonic clock.

A bucket starts empty, so for rate r and burst b any window of 60 s holds at most `b + 60 r` calls, through any number
of hand-overs between owners. Rates are chosen so that `b + 60 r <= headroom x quota`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.contracts.messages import Batch
from pipeline.errors import Invalid

MINUTE_S = 60.0
SPREAD_S = 1.0
"""How much later one call may reach the server than another that was granted at the same time. The server's own window
of 60 s can hold the calls that we granted in 60 s and this much more; the rate is lowered by it."""
CUT = 0.5
CLIMB_PER_CALL = 0.002  # of the ceiling: from half back to the ceiling in 250 calls, some 15 s at the quota
FLOOR = 0.02  # of the ceiling: one call in a while finds out whether the quota is back


@dataclass(frozen=True)
class Limits:
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


class Bucket:
    """Tokens of one scope; learns from refusals by cutting its rate, and climbs back with success."""

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
        missing = max(0.0, 1.0 - self._tokens) / self._rate
        return max(missing, self._blocked_until - now, 0.0)

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
        self._ceiling = self._rate = rate
        self._burst = burst
        self._tokens = min(self._tokens, burst)

    @property
    def rate(self) -> float:
        """Tokens a second, now."""
        return self._rate


class Limiter:
    """All buckets that a call must pass: property, credential, and our share of the project's."""

    def __init__(self, limits: Limits, total_partitions: int) -> None:
        limits.check()
        self._limits = limits
        self._total = total_partitions
        self._since: dict[int, float] = {}
        self._buckets: dict[tuple[int, str], list[Bucket]] = {}
        self._project: Bucket | None = None

    def assigned(self, partitions: Iterable[int], now: float) -> None:
        """Partitions are ours from now on; their buckets are empty."""
        self._since.update(dict.fromkeys(partitions, now))
        self._share(now)

    def revoked(self, partitions: Iterable[int], now: float) -> None:
        """Partitions are another's; so are their buckets."""
        for partition in partitions:
            self._since.pop(partition, None)
        self._buckets = {key: buckets for key, buckets in self._buckets.items() if key[0] in self._since}
        self._share(now)

    def _share(self, now: float) -> None:
        share = len(self._since) / self._total
        if not share:
            self._project = None
            return
        whole = rate_per_s(self._limits.project_qpm, self._limits.headroom, self._limits.burst)
        if self._project is None:
            self._project = Bucket(whole * share, max(1.0, self._limits.burst * share), now)
        else:
            self._project.resize(whole * share, max(1.0, self._limits.burst * share), now)

    def wait(self, batch: Batch, partition: int, now: float) -> float:
        """Seconds until every scope of the batch has a token; 0 when a call may start."""
        if self._project is None or partition not in self._since:
            return MINUTE_S
        return max(bucket.wait(now) for bucket in self._scopes(batch, partition))

    def take(self, batch: Batch, partition: int) -> None:
        """Spend a token of every scope; `wait` was 0."""
        for bucket in self._scopes(batch, partition):
            bucket.take()

    def refused(self, batch: Batch, partition: int, scope: str, now: float, retry_after: float | None) -> None:
        """A quota answer: cut the scope that refused (`property`, `credential` or `project`)."""
        if partition not in self._since:
            return
        buckets = {
            "property": self._of_property(batch, partition),
            "credential": self._of_credential(batch, partition),
            "project": [self._project] if self._project else [],
        }
        for bucket in buckets[scope]:
            bucket.cut(now, retry_after)

    def succeeded(self, batch: Batch, partition: int) -> None:
        """A call was answered."""
        if partition in self._since:
            for bucket in self._scopes(batch, partition):
                bucket.climb()

    def _scopes(self, batch: Batch, partition: int) -> list[Bucket]:
        project = [self._project] if self._project else []
        return [*self._of_property(batch, partition), *self._of_credential(batch, partition), *project]

    def _of_property(self, batch: Batch, partition: int) -> list[Bucket]:
        key = (partition, f"property:{batch.property}")
        if key not in self._buckets:
            qpm = self._limits.site_overrides.get(batch.property, self._limits.site_qpm)
            self._buckets[key] = [self._bucket(qpm, partition)]
            if self._limits.site_qps:
                self._buckets[key].append(Bucket(self._limits.site_qps, 1.0, self._since[partition]))
        return self._buckets[key]

    def _of_credential(self, batch: Batch, partition: int) -> list[Bucket]:
        key = (partition, f"credential:{batch.credential}")
        if key not in self._buckets:
            qpm = self._limits.user_overrides.get(batch.credential, self._limits.user_qpm)
            self._buckets[key] = [self._bucket(qpm, partition)]
        return self._buckets[key]

    def _bucket(self, qpm: int, partition: int) -> Bucket:
        rate = rate_per_s(qpm, self._limits.headroom, self._limits.burst)
        return Bucket(rate, float(self._limits.burst), self._since[partition])
