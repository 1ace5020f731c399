"""The rate limits of a call: of its property, its credential, and this fetcher's share of the project. Pure.

The limits come from the settings and the catalog; `QuotaLimits.check` refuses those that leave no rate.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fetcher.outcome import ScopeKind
from fetcher.token_bucket import MINUTE_S, MinuteCounter, MinuteMaximum, TokenBucket
from pipeline.contracts.messages import Batch
from pipeline.errors import Invalid

WARN_AT = 0.8  # of the hard quota
SPREAD_S = 1.0
"""Two calls that get their tokens at the same time may reach the server this far apart. A window of 60 s on the server
can therefore hold the calls of 60 s and this much more; the rate is lowered accordingly."""


@dataclass(frozen=True)
class QuotaLimits:
    """Quotas in calls a minute; `headroom` is the share of them that is used, `burst` a number of calls."""

    site_qpm: int
    user_qpm: int
    project_qpm: int
    headroom: float
    burst: int
    site_qps: float | None = None
    site_overrides: Mapping[str, int] = field(default_factory=dict)
    user_overrides: Mapping[str, int] = field(default_factory=dict)

    def check(self) -> None:
        """Raise Invalid, with the numbers, when a quota leaves no rate."""
        quotas = [
            ("GSC_SITE_QPM", self.site_qpm),
            ("GSC_USER_QPM", self.user_qpm),
            ("GSC_PROJECT_QPM", self.project_qpm),
            *((f"site_qpm of {url}", qpm) for url, qpm in self.site_overrides.items()),
            *((f"user_qpm of {name}", qpm) for name, qpm in self.user_overrides.items()),
        ]
        for name, qpm in quotas:
            rate_per_s(qpm, self.headroom, self.burst, name)


def rate_per_s(qpm: float, headroom: float, burst: float, name: str = "quota") -> float:
    """Return the rate with which `burst + 60 x rate` stays within the headroom.

    Raises Invalid, with `name` as the field, when the burst alone uses all of it.
    """
    allowed = qpm * headroom
    rate = (allowed - burst) / (MINUTE_S + SPREAD_S)
    if rate <= 0:
        raise Invalid(
            f"{qpm} a minute x headroom {headroom} = {allowed:g} leaves nothing beside a burst of {burst:g}", field=name
        )
    return rate


class Pace(NamedTuple):
    """Why a call waits: the scope that gets its token last, and its rate and highest rate, in calls a minute."""

    kind: ScopeKind
    name: str
    seconds: float
    rate_qpm: float
    ceiling_qpm: float

    def __str__(self) -> str:
        slowed = f", cut from {self.ceiling_qpm:.0f}" if self.rate_qpm < 0.99 * self.ceiling_qpm else ""
        return f"{f'{self.kind} {self.name}'.strip()}: {self.rate_qpm:.0f} calls a minute{slowed}"


class Refusal(NamedTuple):
    """A call that a quota refused: the kind of the scope, when it was started, and the seconds of its Retry-After."""

    kind: ScopeKind
    started: float
    retry_after: float | None = None


class Reading(NamedTuple):
    """Metrics of a credential: calls of the last minute, the rate in calls a minute, and available tokens."""

    kind: ScopeKind
    name: str
    calls: int
    rate_qpm: float
    tokens: float


class BusiestProperty(NamedTuple):
    """The most calls that a property had made in a minute, and the highest ratio of them to its rate, lately."""

    calls: float
    utilisation: float


class QuotaWarning(NamedTuple):
    """A scope whose calls of the last minute have reached WARN_AT of the hard quota."""

    kind: ScopeKind
    name: str
    calls: int
    quota_qpm: float


@dataclass
class _Scope:
    """The token buckets of one scope, the counter of its calls, and its hard quota."""

    kind: ScopeKind
    name: str
    buckets: list[TokenBucket]
    quota_qpm: float
    counter: MinuteCounter = field(default_factory=MinuteCounter)
    warned: bool = False

    def wait(self, now: float) -> float:
        return max(bucket.wait(now) for bucket in self.buckets)

    def take(self, now: float) -> QuotaWarning | None:
        """Take a token of each bucket; returns a warning each time that the calls reach WARN_AT of the quota."""
        for bucket in self.buckets:
            bucket.take()
        self.counter.add(now)
        calls = self.counter.calls(now)
        is_near = calls >= WARN_AT * self.quota_qpm
        is_new, self.warned = is_near and not self.warned, is_near
        return QuotaWarning(self.kind, self.name, calls, self.quota_qpm) if is_new else None

    def tokens(self, now: float) -> float:
        return min(bucket.tokens(now) for bucket in self.buckets)

    def pace(self, now: float) -> Pace:
        seconds = self.wait(now)
        slowest = min(self.buckets, key=lambda bucket: bucket.rate)
        return Pace(self.kind, self.name, seconds, slowest.rate * MINUTE_S, slowest.ceiling * MINUTE_S)


class RateLimiter:
    """The token buckets of the held partitions, by property and credential, and those of the project."""

    def __init__(self, limits: QuotaLimits, total_partitions: int) -> None:
        """Raises Invalid when the limits leave no rate."""
        limits.check()
        self._limits = limits
        self._total = total_partitions
        # At least one call for each partition's share.
        self._project_burst = max(limits.burst, total_partitions)
        self._project_rate = rate_per_s(limits.project_qpm, limits.headroom, self._project_burst, "GSC_PROJECT_QPM")
        self._since: dict[int, float] = {}
        self._properties: dict[tuple[int, str], _Scope] = {}
        self._credentials: dict[tuple[int, str], _Scope] = {}
        self._project: _Scope | None = None
        self._most_calls = MinuteMaximum()
        self._highest_utilisation = MinuteMaximum()

    def replace_limits(self, limits: QuotaLimits, now: float) -> None:
        """Use other quotas of properties and credentials from now on. `limits` must have passed `check`."""
        self._limits = limits
        for (_, name), scope in (*self._properties.items(), *self._credentials.items()):
            qpm = self._quota(scope.kind, name)
            if qpm != scope.quota_qpm:
                scope.quota_qpm = qpm
                scope.buckets[0].resize(rate_per_s(qpm, limits.headroom, limits.burst), float(limits.burst), now)

    def _quota(self, kind: ScopeKind, name: str) -> int:
        if kind == "property":
            return self._limits.site_overrides.get(name, self._limits.site_qpm)
        return self._limits.user_overrides.get(name, self._limits.user_qpm)

    def assigned(self, partitions: Iterable[int], now: float) -> None:
        """Add partitions, with empty buckets."""
        self._since.update(dict.fromkeys(partitions, now))
        self._resize_project(now)

    def revoked(self, partitions: Iterable[int], now: float) -> None:
        """Remove partitions and their buckets."""
        for partition in partitions:
            self._since.pop(partition, None)
        self._properties = {key: scope for key, scope in self._properties.items() if key[0] in self._since}
        self._credentials = {key: scope for key, scope in self._credentials.items() if key[0] in self._since}
        self._resize_project(now)

    def _resize_project(self, now: float) -> None:
        """Set the share of the project's quota by the number of held partitions; all fetchers' shares add up to 1."""
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
        """Return the seconds until every scope of the batch has a token; 0 when a call may start."""
        shared = self.shared_wait(batch.credential, partition, now)
        return max(shared, self.property_wait(batch.property, partition, now))

    def shared_wait(self, credential: str, partition: int, now: float) -> float:
        """Return the seconds until the scopes that all batches of a credential share have a token."""
        if self._project is None or partition not in self._since:
            return MINUTE_S
        return max(self._credential(credential, partition).wait(now), self._project.wait(now))

    def property_wait(self, url: str, partition: int, now: float) -> float:
        """Return the seconds until a property has a token."""
        return self._property(url, partition).wait(now) if partition in self._since else MINUTE_S

    def pace(self, batch: Batch, partition: int, now: float) -> Pace | None:
        """Return what a call of this batch waits for; None when it need not wait."""
        if self._project is None or partition not in self._since:
            return None
        paces = [scope.pace(now) for scope in self._scopes_of(batch, partition)]
        slowest = max(paces, key=lambda pace: pace.seconds)
        return slowest if slowest.seconds > 0 else None

    def take(self, batch: Batch, partition: int, now: float) -> list[QuotaWarning]:
        """Take a token of every scope, only when `wait` is 0; returns the scopes that come near their hard quota."""
        warnings = [scope.take(now) for scope in self._scopes_of(batch, partition)]
        own = self._property(batch.property, partition)
        calls = own.counter.calls(now)
        self._most_calls.add(calls, now)
        self._highest_utilisation.add(calls / own.pace(now).rate_qpm, now)
        return [warning for warning in warnings if warning]

    def readings(self, now: float) -> list[Reading]:
        """Return the metrics of every credential of the held partitions."""
        return [
            Reading(scope.kind, scope.name, scope.counter.calls(now), scope.pace(now).rate_qpm, scope.tokens(now))
            for scope in self._credentials.values()
        ]

    def busiest_property(self, now: float) -> BusiestProperty:
        """Return the highest values of a property in the last minute, at the starts of its calls."""
        return BusiestProperty(self._most_calls.value(now), self._highest_utilisation.value(now))

    def refused(self, batch: Batch, partition: int, refusal: Refusal, now: float) -> None:
        """Slow down the scope of the batch whose quota refused a call."""
        if partition in self._since:
            for scope in self._scopes_of(batch, partition):
                for bucket in scope.buckets if scope.kind == refusal.kind else ():
                    bucket.cut(refusal.started, now, refusal.retry_after)

    def succeeded(self, batch: Batch, partition: int, started: float, now: float) -> None:
        """Let the rates of the batch's scopes climb after a call has succeeded that was started at `started`."""
        if partition in self._since:
            for scope in self._scopes_of(batch, partition):
                for bucket in scope.buckets:
                    bucket.recover(started, now)

    def _scopes_of(self, batch: Batch, partition: int) -> list[_Scope]:
        own = [self._property(batch.property, partition), self._credential(batch.credential, partition)]
        return [*own, self._project] if self._project else own

    def _property(self, url: str, partition: int) -> _Scope:
        scope = self._properties.get((partition, url))
        if scope is None:
            scope = self._properties[partition, url] = self._create("property", url, partition)
            if self._limits.site_qps:
                scope.buckets.append(TokenBucket(self._limits.site_qps, 1.0, self._since[partition]))
        return scope

    def _credential(self, name: str, partition: int) -> _Scope:
        scope = self._credentials.get((partition, name))
        if scope is None:
            scope = self._credentials[partition, name] = self._create("credential", name, partition)
        return scope

    def _create(self, kind: ScopeKind, name: str, partition: int) -> _Scope:
        qpm = self._quota(kind, name)
        rate = rate_per_s(qpm, self._limits.headroom, self._limits.burst)
        return _Scope(kind, name, [TokenBucket(rate, float(self._limits.burst), self._since[partition])], qpm)
