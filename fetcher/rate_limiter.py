"""The rate limits of a call: of its property, its credential, and this fetcher's share of its project. Pure.

The limits (`quota_limits`) come from the settings and the catalog.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from fetcher.outcome import ScopeKind
from fetcher.quota_limits import ProjectShares, QuotaLimits
from fetcher.token_bucket import MinuteCounter, TokenBucket
from pipeline.contracts.messages import Batch
from pipeline.minute_maximum import MINUTE_S, MinuteMaximum

WARN_AT = 0.8  # of the hard quota


class Pace(NamedTuple):
    """Why a call waits: the scope that gets its token last, and its rate and highest rate, in calls a minute."""

    kind: ScopeKind
    name: str
    seconds: float
    rate_qpm: float
    ceiling_qpm: float

    def __str__(self) -> str:
        if not self.ceiling_qpm:
            return f"{self.kind} {self.name}: its quota is less than one call a minute for each partition"
        slowed = f", cut from {self.ceiling_qpm:.0f}" if self.rate_qpm < 0.99 * self.ceiling_qpm else ""
        return f"{f'{self.kind} {self.name}'.strip()}: {self.rate_qpm:.0f} calls a minute{slowed}"


class Refusal(NamedTuple):
    """A call that a quota refused: the kind of the scope, when it was started, and the seconds of its Retry-After."""

    kind: ScopeKind
    started: float
    retry_after: float | None = None


class Reading(NamedTuple):
    """Metrics of a credential or project: calls of the last minute, rate in calls a minute, and available tokens."""

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
    """The token buckets of the held partitions, by property and credential, and those of the projects."""

    def __init__(self, limits: QuotaLimits, total_partitions: int) -> None:
        self._limits = limits
        self._total = total_partitions
        self._shares = ProjectShares(limits.projects, total_partitions)
        self._since: dict[int, float] = {}
        self._properties: dict[tuple[int, str], _Scope] = {}
        self._credentials: dict[tuple[int, str], _Scope] = {}
        self._projects: dict[str, _Scope] = {}
        self._most_calls = MinuteMaximum()
        self._highest_utilisation = MinuteMaximum()

    def replace_limits(self, limits: QuotaLimits, now: float) -> None:
        """Use other quotas from now on."""
        self._limits = limits
        self._shares = ProjectShares(limits.projects, self._total)
        for (_, name), scope in (*self._properties.items(), *self._credentials.items()):
            qpm = self._quota(scope.kind, name)
            if qpm != scope.quota_qpm:
                scope.quota_qpm = qpm
                scope.buckets[0].resize(*limits.allowance(qpm), now)
        self._resize_projects(now)

    def _quota(self, kind: ScopeKind, name: str) -> int:
        return self._limits.of_property(name) if kind == "property" else self._limits.of_credential(name)

    def assigned(self, partitions: Iterable[int], now: float) -> None:
        """Add partitions, with empty buckets."""
        self._since.update(dict.fromkeys(partitions, now))
        self._resize_projects(now)

    def revoked(self, partitions: Iterable[int], now: float) -> None:
        """Remove partitions and their buckets."""
        for partition in partitions:
            self._since.pop(partition, None)
        self._properties = {key: scope for key, scope in self._properties.items() if key[0] in self._since}
        self._credentials = {key: scope for key, scope in self._credentials.items() if key[0] in self._since}
        self._resize_projects(now)

    def _resize_projects(self, now: float) -> None:
        """Set this fetcher's part of each project's quota; the parts of all fetchers add up to the quota."""
        names = self._limits.project_names if self._since else set()
        self._projects = {name: scope for name, scope in self._projects.items() if name in names}
        for name in names:
            self._resize_project(name, self._shares.share(name, self._since), now)

    def _resize_project(self, name: str, share: float, now: float) -> None:
        qpm = self._limits.of_project(name)
        total = self._limits.allowance(qpm, self._total)
        # Each partition can hold a token, and its share of the rest.
        rate, burst = total.rate * share, len(self._since) + (total.burst - self._total) * share
        if name in self._projects:
            self._projects[name].buckets[0].resize(rate, burst, now)
            self._projects[name].quota_qpm = qpm * share
        else:
            self._projects[name] = _Scope("project", name, [TokenBucket(rate, burst, now)], qpm * share)

    def project_of(self, credential: str) -> str:
        """Return the project whose quota the calls of a credential use."""
        return self._limits.project_of(credential)

    def wait(self, batch: Batch, partition: int, now: float) -> float:
        """Return the seconds until every scope of the batch has a token; 0 when a call may start."""
        shared = self.shared_wait(batch.credential, partition, now)
        return max(shared, self.property_wait(batch.property, partition, now))

    def shared_wait(self, credential: str, partition: int, now: float) -> float:
        """Return the seconds until the scopes that all batches of a credential share have a token."""
        if partition not in self._since:
            return MINUTE_S
        return max(self._credential(credential, partition).wait(now), self._project(credential).wait(now))

    def property_wait(self, url: str, partition: int, now: float) -> float:
        """Return the seconds until a property has a token."""
        return self._property(url, partition).wait(now) if partition in self._since else MINUTE_S

    def pace(self, batch: Batch, partition: int, now: float) -> Pace | None:
        """Return what a call of this batch waits for; None when it need not wait."""
        if partition not in self._since:
            return None
        paces = [scope.pace(now) for scope in self._scopes_of(batch, partition)]
        slowest = max(paces, key=lambda pace: pace.seconds)
        return slowest if slowest.seconds > 0 else None

    def take(self, batch: Batch, partition: int, now: float) -> list[QuotaWarning] | None:
        """Take a token of every scope; returns the scopes that come near their hard quota.

        Takes none, and returns None, while `wait` is not 0.
        """
        if self.wait(batch, partition, now) > 0:
            return None
        warnings = [scope.take(now) for scope in self._scopes_of(batch, partition)]
        own = self._property(batch.property, partition)
        calls = own.counter.calls(now)
        self._most_calls.add(calls, now)
        self._highest_utilisation.add(calls / own.pace(now).rate_qpm, now)
        return [warning for warning in warnings if warning]

    def readings(self, now: float) -> list[Reading]:
        """Return the metrics of every credential of the held partitions, and of this fetcher's shares of projects."""
        return [
            Reading(scope.kind, scope.name, scope.counter.calls(now), scope.pace(now).rate_qpm, scope.tokens(now))
            for scope in (*self._credentials.values(), *self._projects.values())
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
        return [
            self._property(batch.property, partition),
            self._credential(batch.credential, partition),
            self._project(batch.credential),
        ]

    def _project(self, credential: str) -> _Scope:
        return self._projects[self._limits.project_of(credential)]

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
        rate, burst = self._limits.allowance(qpm)
        return _Scope(kind, name, [TokenBucket(rate, burst, self._since[partition])], qpm)
