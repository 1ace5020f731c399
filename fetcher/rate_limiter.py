"""What a call must pass: the quotas of its property, its credential, and our share of the project's. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from fetcher.token_bucket import MINUTE_S, MinuteCounter, QuotaLimits, TokenBucket, rate_per_s
from pipeline.contracts.messages import Batch

NEARLY_SPENT = 0.8  # of the hard quota: worth a warning
Kind = Literal["property", "credential", "project"]


class Pace(NamedTuple):
    """Why a call waits: the scope that is the last to have a token, its rate a minute, and what it may be."""

    kind: Kind
    name: str
    seconds: float
    rate_qpm: float
    ceiling_qpm: float

    def __str__(self) -> str:
        slowed = f", cut from {self.ceiling_qpm:.0f}" if self.rate_qpm < 0.99 * self.ceiling_qpm else ""
        return f"{f'{self.kind} {self.name}'.strip()}: {self.rate_qpm:.0f} calls a minute{slowed}"


class Reading(NamedTuple):
    """Calls of the last minute, the rate a minute now, and tokens that are there."""

    kind: Kind
    name: str
    calls: int
    rate_qpm: float
    tokens: float


class Spending(NamedTuple):
    """A scope whose calls of the last minute have reached NEARLY_SPENT of the hard quota."""

    kind: Kind
    name: str
    calls: int
    quota_qpm: float


@dataclass
class _Scope:
    """What a call must pass of one kind: its buckets, the meter of its calls, and the hard quota."""

    kind: Kind
    name: str
    buckets: list[TokenBucket]
    quota_qpm: float
    meter: MinuteCounter = field(default_factory=MinuteCounter)
    warned: bool = False

    def wait(self, now: float) -> float:
        return max(bucket.wait(now) for bucket in self.buckets)

    def take(self, now: float) -> Spending | None:
        """Spend a token; tells when the calls of the last minute come near the hard quota, once until they are not."""
        for bucket in self.buckets:
            bucket.take()
        self.meter.add(now)
        calls = self.meter.calls(now)
        nearly = calls >= NEARLY_SPENT * self.quota_qpm
        warn, self.warned = nearly and not self.warned, nearly
        return Spending(self.kind, self.name, calls, self.quota_qpm) if warn else None

    def tokens(self, now: float) -> float:
        return min(bucket.tokens(now) for bucket in self.buckets)

    def pace(self, now: float) -> Pace:
        slowest = min(self.buckets, key=lambda bucket: bucket.rate)
        return Pace(self.kind, self.name, self.wait(now), slowest.rate * MINUTE_S, slowest.ceiling * MINUTE_S)


class RateLimiter:
    """All buckets that a call must pass: property, credential, and our share of the project's."""

    def __init__(self, limits: QuotaLimits, total_partitions: int) -> None:
        limits.check()
        self._limits = limits
        self._total = total_partitions
        # So that each partition's share of the burst is a whole call.
        self._project_burst = max(limits.burst, total_partitions)
        self._project_rate = rate_per_s(limits.project_qpm, limits.headroom, self._project_burst, "GSC_PROJECT_QPM")
        self._since: dict[int, float] = {}
        self._scopes: dict[tuple[int, Kind, str], _Scope] = {}
        self._project: _Scope | None = None

    def assigned(self, partitions: Iterable[int], now: float) -> None:
        """Partitions are ours from now on; their buckets are empty."""
        self._since.update(dict.fromkeys(partitions, now))
        self._share(now)

    def revoked(self, partitions: Iterable[int], now: float) -> None:
        """Partitions are another's; so are their buckets."""
        for partition in partitions:
            self._since.pop(partition, None)
        self._scopes = {key: scope for key, scope in self._scopes.items() if key[0] in self._since}
        self._share(now)

    def _share(self, now: float) -> None:
        """Our part of the project's quota: by partitions, so that the parts of all fetchers are the whole."""
        share = len(self._since) / self._total
        if not share:
            self._project = None
            return
        rate, burst = self._project_rate * share, self._project_burst * share
        if self._project is None:
            self._project = _Scope("project", "", [TokenBucket(rate, burst, now)], 0.0)
        else:
            self._project.buckets[0].resize(rate, burst, now)
        self._project.quota_qpm = self._limits.project_qpm * share

    def wait(self, batch: Batch, partition: int, now: float) -> float:
        """Seconds until every scope of the batch has a token; 0 when a call may start."""
        if self._project is None or partition not in self._since:
            return MINUTE_S
        return max(scope.wait(now) for scope in self._of(batch, partition))

    def pace(self, batch: Batch, partition: int, now: float) -> Pace | None:
        """What makes a call of this batch wait; None when nothing does."""
        if self._project is None or partition not in self._since:
            return None
        slowest = max((scope.pace(now) for scope in self._of(batch, partition)), key=lambda pace: pace.seconds)
        return slowest if slowest.seconds > 0 else None

    def take(self, batch: Batch, partition: int, now: float) -> list[Spending]:
        """Spend a token of every scope; `wait` was 0. Returns the scopes that have come near their hard quota."""
        taken = [scope.take(now) for scope in self._of(batch, partition)]
        return [spending for spending in taken if spending]

    def readings(self, now: float) -> list[Reading]:
        """How every scope of the held partitions stands, for metrics."""
        return [
            Reading(scope.kind, scope.name, scope.meter.calls(now), scope.pace(now).rate_qpm, scope.tokens(now))
            for scope in self._scopes.values()
        ]

    def refused(self, batch: Batch, partition: int, kind: Kind, now: float, retry_after: float | None) -> None:
        """A quota answer: cut the scope that refused."""
        if partition in self._since:
            for scope in self._of(batch, partition):
                for bucket in scope.buckets if scope.kind == kind else ():
                    bucket.cut(now, retry_after)

    def succeeded(self, batch: Batch, partition: int) -> None:
        """A call was answered."""
        if partition in self._since:
            for scope in self._of(batch, partition):
                for bucket in scope.buckets:
                    bucket.climb()

    def _of(self, batch: Batch, partition: int) -> list[_Scope]:
        own = [self._property(batch.property, partition), self._credential(batch.credential, partition)]
        return [*own, self._project] if self._project else own

    def _property(self, url: str, partition: int) -> _Scope:
        found = self._scopes.get((partition, "property", url))
        if found is None:
            qpm = self._limits.site_overrides.get(url, self._limits.site_qpm)
            found = self._made("property", url, qpm, partition)
            if self._limits.site_qps:
                found.buckets.append(TokenBucket(self._limits.site_qps, 1.0, self._since[partition]))
        return found

    def _credential(self, name: str, partition: int) -> _Scope:
        found = self._scopes.get((partition, "credential", name))
        if found is None:
            qpm = self._limits.user_overrides.get(name, self._limits.user_qpm)
            found = self._made("credential", name, qpm, partition)
        return found

    def _made(self, kind: Kind, name: str, qpm: int, partition: int) -> _Scope:
        rate = rate_per_s(qpm, self._limits.headroom, self._limits.burst)
        bucket = TokenBucket(rate, float(self._limits.burst), self._since[partition])
        return self._scopes.setdefault((partition, kind, name), _Scope(kind, name, [bucket], qpm))
