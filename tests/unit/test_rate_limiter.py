"""The rate limits of property, credential and project."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetcher.quota_limits import ProjectShares, QuotaLimits, allowance
from fetcher.rate_limiter import BusiestProperty, Pace, QuotaWarning, RateLimiter, Refusal
from fetcher.token_bucket import TokenBucket
from pipeline.contracts.messages import Batch
from pipeline.minute_maximum import MINUTE_S
from pipeline.partitioner import partition_of
from support.examples import a_batch

LIMITS = QuotaLimits(site_qpm=1200, user_qpm=1200, project_qpm=40_000, headroom=0.8, burst=8)
gaps = st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=400)


def most_in_a_minute(times: list[float]) -> int:
    """Return the largest number of calls in any window of 60 s."""
    return max((sum(end - MINUTE_S < t <= end for t in times) for end in times), default=0)


@given(gaps=gaps, burst=st.integers(1, 20), qpm=st.integers(20, 1200), refusals=st.integers(0, 9))
def test_no_window_of_a_minute_holds_more_calls_than_the_headroom(
    gaps: list[float], burst: int, qpm: int, refusals: int
) -> None:
    """Whatever is refused and succeeds in between."""
    bucket = TokenBucket(*allowance(qpm, 0.8, burst), 0.0)
    now, taken = 0.0, []
    for number, gap in enumerate(gaps):
        now += gap
        if refusals:
            bucket.recover(now, now)
            if number % refusals == 0:
                bucket.cut(now, now, None)
        while bucket.wait(now) <= 0:
            bucket.take()
            taken.append(now)
    assert most_in_a_minute(taken) <= 0.8 * qpm


class Fleet:
    """Fetchers that share all partitions, each with a limiter. Partitions change hands; granted calls are recorded."""

    def __init__(self, limits: QuotaLimits, partitions: int) -> None:
        self.limits = limits
        self.partitions = partitions
        self.fetchers = [RateLimiter(limits, partitions)]
        self.owner = dict.fromkeys(range(partitions), 0)
        self.fetchers[0].assigned(range(partitions), 0.0)
        self.grants: dict[str, list[float]] = {}

    def batch(self, partition: int, number: int) -> Batch:
        """Return a batch of the n-th property of the partition's first credential in the catalog, if it has one."""
        here = [name for name in self.limits.projects if partition_of(name.encode(), self.partitions) == partition]
        credential = min(here, default=f"c{partition}")
        return a_batch(credential=credential, property=f"sc-domain:p{partition}-{number}.com")

    def join(self, now: float) -> None:
        """A new fetcher takes every other partition of the fetcher that has most."""
        self.fetchers.append(RateLimiter(self.limits, self.partitions))
        owners = list(self.owner.values())
        busiest = max(set(owners), key=owners.count)
        moved = [p for p, owner in self.owner.items() if owner == busiest][::2]
        self.hand_over(moved, busiest, len(self.fetchers) - 1, now)

    def leave(self, now: float) -> None:
        """A fetcher leaves, by a stop or a kill; a new one takes its partitions, with empty buckets."""
        leaver = self.owner[0]
        moved = [p for p, owner in self.owner.items() if owner == leaver]
        self.fetchers.append(RateLimiter(self.limits, self.partitions))
        self.hand_over(moved, leaver, len(self.fetchers) - 1, now)

    def hand_over(self, moved: list[int], before: int, after: int, now: float) -> None:
        self.fetchers[before].revoked(moved, now)
        self.fetchers[after].assigned(moved, now)
        self.owner.update(dict.fromkeys(moved, after))

    def spend(self, now: float) -> None:
        """Every fetcher calls as often as it may, in turn."""
        granted = True
        while granted:
            granted = False
            for partition, owner in self.owner.items():
                for number in range(2):
                    batch = self.batch(partition, number)
                    if self.fetchers[owner].wait(batch, partition, now) <= 0:
                        self.fetchers[owner].take(batch, partition, now)
                        granted = True
                        for scope in (batch.property, batch.credential, "project"):
                            self.grants.setdefault(scope, []).append(now)


@settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(st.tuples(st.floats(-2, 20), st.sampled_from(["", "", "", "join", "leave"])), max_size=60),
    project_qpm=st.integers(20, 300),
    burst=st.integers(1, 8),
    credentials=st.sets(st.sampled_from([f"c{number}" for number in range(30)])),
)
def test_the_limit_of_every_scope_holds_through_any_change_of_owners(
    steps: list[tuple[float, str]], project_qpm: int, burst: int, credentials: set[str]
) -> None:
    """Compared with a sliding window, on a clock that also steps back; the project's limit is that of all fetchers."""
    projects = dict.fromkeys(credentials, "default")
    limits = QuotaLimits(60, 90, project_qpm, headroom=0.8, burst=burst, projects=projects)
    fleet, now, latest = Fleet(limits, 4), 0.0, 0.0
    for gap, event in steps:
        now = now + gap
        latest = max(latest, now)
        if event == "join":
            fleet.join(now)
        elif event == "leave":
            fleet.leave(now)
        fleet.spend(now)
    for scope, times in fleet.grants.items():
        qpm = 60 if scope.startswith("sc-domain") else 90 if scope.startswith("c") else project_qpm
        assert most_in_a_minute(sorted(times)) <= 0.8 * qpm, scope


def test_all_fetchers_together_use_the_complete_quota_of_the_project() -> None:
    fleet = Fleet(QuotaLimits(10**5, 10**5, 1200, 0.8, 4), 4)
    fleet.join(0.0)
    for tenth in range(3000):
        fleet.spend(tenth / 10)
    assert 0.95 * 960 * 5 < len(fleet.grants["project"]) <= 960 * 5


def test_a_call_waits_for_a_token_of_every_scope() -> None:
    limiter = RateLimiter(QuotaLimits(1200, 60, 40_000, 0.8, 1), 1)
    limiter.assigned([0], 0.0)
    one, other = a_batch(property="sc-domain:a.com"), a_batch(property="sc-domain:b.com")
    assert limiter.wait(one, 0, 10.0) == 0
    limiter.take(one, 0, 10.0)
    assert limiter.wait(other, 0, 10.0) > 1  # another property, the same credential


def test_the_share_of_the_project_is_that_of_the_held_partitions() -> None:
    half = RateLimiter(QuotaLimits(10**6, 10**6, 600, 0.8, 1), 2)
    half.assigned([0], 0.0)
    taken = 0
    for tenth in range(6000):
        if half.wait(a_batch(), 0, tenth / 100) <= 0:
            half.take(a_batch(), 0, tenth / 100)
            taken += 1
    assert 200 < taken <= 240


def test_a_revoked_partition_waits() -> None:
    limiter = RateLimiter(LIMITS, 12)
    limiter.assigned([0, 1], 0.0)
    limiter.revoked([0], 1.0)
    assert limiter.wait(a_batch(), 0, 100.0) > 0
    assert limiter.wait(a_batch(), 1, 100.0) == 0


@given(
    credentials=st.dictionaries(st.text(min_size=1), st.sampled_from("abc")),
    owners=st.lists(st.integers(0, 3), min_size=1, max_size=24),
)
def test_the_shares_of_all_fetchers_in_a_project_add_up_to_one(credentials: dict[str, str], owners: list[int]) -> None:
    shares = ProjectShares(credentials, len(owners))
    for project in "abcd":
        held = [[p for p, owner in enumerate(owners) if owner == fetcher] for fetcher in range(4)]
        assert sum(shares.share(project, partitions) for partitions in held) == pytest.approx(1.0)


def test_a_project_whose_credentials_are_in_one_partition_has_its_quota_there() -> None:
    together = [name for name in (f"c{number}" for number in range(100)) if partition_of(name.encode(), 12) == 5]
    shares = ProjectShares(dict.fromkeys(together, "a") | {"other": "b"}, 12)
    assert shares.share("a", [5]) > 0.99
    assert shares.share("a", [0, 1, 2, 3, 4]) < 0.01
    limiter = RateLimiter(QuotaLimits(10**6, 10**6, 1200, 0.8, 4, projects=dict.fromkeys(together, "a")), 12)
    limiter.assigned([5], 0.0)
    batch = a_batch(credential=together[0])
    calls = sum(limiter.take(batch, 5, step / 100) is not None for step in range(6001))
    assert 0.95 * 960 < calls <= 960


def test_every_partition_can_make_a_call_for_every_project() -> None:
    limits = QuotaLimits(1200, 1200, 1200, 0.8, 8, projects={"acme": "a"})
    for partition in range(12):
        limiter = RateLimiter(limits, 12)
        limiter.assigned([partition], 0.0)
        assert limiter.wait(a_batch(), partition, 600.0) == 0


def test_a_quota_below_the_burst_is_served_with_a_smaller_burst() -> None:
    limiter = RateLimiter(QuotaLimits(20, 1200, 40_000, 0.1, 8), 1)
    limiter.assigned([0], 0.0)
    taken = [step for step in range(600) if limiter.take(a_batch(), 0, float(step)) is not None]
    assert most_in_a_minute(list(map(float, taken))) <= 2
    assert len(taken) == 4


def test_a_project_whose_quota_is_too_small_waits_alone_and_the_reason_is_reported() -> None:
    limits = QuotaLimits(1200, 1200, 1200, 0.5, 8, projects={"acme": "a", "other": "b"}, project_overrides={"b": 20})
    limiter = RateLimiter(limits, 12)
    limiter.assigned(range(12), 0.0)
    small = a_batch(credential="other", property="sc-domain:other.com")
    assert limiter.wait(a_batch(), 0, 60.0) == 0
    assert limiter.wait(small, 0, 60.0) == MINUTE_S
    assert str(limiter.pace(small, 0, 60.0)) == (
        "project b: its quota is less than one call a minute for each partition"
    )
    assert list(limits.unserved(12)) == [
        "project b: 20 a minute x headroom 0.5 = 10 must be more than one call for each of 12 partitions"
    ]
    limiter.replace_limits(replace(limits, project_overrides={}), 60.0)
    assert limiter.wait(small, 0, 90.0) == 0


def test_a_call_takes_a_token_of_every_scope_or_of_none() -> None:
    limiter = RateLimiter(LIMITS, 1)
    limiter.assigned([0], 0.0)
    limiter.refused(a_batch(), 0, Refusal("property", 60.0, 9.0), 60.0)
    before = limiter.readings(60.0)
    assert limiter.take(a_batch(), 0, 60.0) is None
    assert limiter.readings(60.0) == before
    assert limiter.take(a_batch(property="sc-domain:other.com"), 0, 60.0) == []


def test_the_slowest_scope_is_reported_with_its_rate() -> None:
    limiter = RateLimiter(QuotaLimits(1200, 600, 40_000, 0.8, 8), 12)
    limiter.assigned([3], 0.0)
    pace = limiter.pace(a_batch(), 3, 0.0)
    assert isinstance(pace, Pace)
    assert (pace.kind, pace.name) == ("credential", "acme")
    assert str(pace) == "credential acme: 464 calls a minute"
    limiter.refused(a_batch(), 3, Refusal("credential", 0.0, 30.0), 0.0)
    slowed = limiter.pace(a_batch(), 3, 0.0)
    assert slowed is not None
    assert slowed.seconds == 30.0
    assert str(slowed) == "credential acme: 232 calls a minute, cut from 464"
    assert limiter.pace(a_batch(), 3, 60.0) is None


def test_an_optional_limit_of_calls_a_second_holds_for_a_property() -> None:
    limiter = RateLimiter(QuotaLimits(1200, 1200, 40_000, 0.8, 8, site_qps=2.0), 12)
    limiter.assigned([0], 0.0)
    taken = 0
    for hundredth in range(1000):
        if limiter.wait(a_batch(), 0, 5 + hundredth / 100) <= 0:
            limiter.take(a_batch(), 0, 5 + hundredth / 100)
            taken += 1
    assert taken in (20, 21)


def test_a_scope_at_80_percent_of_the_hard_quota_is_reported_once() -> None:
    limiter = RateLimiter(QuotaLimits(100, 10**6, 10**6, 1.0, 5), 1)
    limiter.assigned([0], 0.0)
    now, warnings = 0.0, list[QuotaWarning]()
    while now < 240.0:
        warnings += limiter.take(a_batch(), 0, now) or ()
        now += 0.1
    assert {(item.kind, item.name, item.calls) for item in warnings} == {("property", "sc-domain:example.com", 80)}
    assert isinstance(warnings[0], QuotaWarning)
    within = RateLimiter(LIMITS, 1)  # the default headroom stays below
    within.assigned([0], 0.0)
    calls = [within.take(a_batch(), 0, t / 20) for t in range(6000) if within.wait(a_batch(), 0, t / 20) <= 0]
    assert len(calls) > 4000
    assert not any(calls)


def test_a_partition_that_is_not_held_is_ignored() -> None:
    limiter = RateLimiter(LIMITS, 12)
    limiter.assigned([1], 0.0)
    assert limiter.pace(a_batch(), 0, 100.0) is None
    limiter.refused(a_batch(), 0, Refusal("credential", 100.0, 30.0), 100.0)
    limiter.succeeded(a_batch(), 0, 99.0, 100.0)
    assert [reading.kind for reading in limiter.readings(100.0)] == ["project"]


def test_a_success_raises_the_rate_of_a_scope_that_was_cut() -> None:
    limiter = RateLimiter(QuotaLimits(1200, 10**6, 10**6, 0.8, 8), 1)
    limiter.assigned([0], 0.0)
    limiter.refused(a_batch(), 0, Refusal("property", 0.0), 0.0)
    before = limiter.pace(a_batch(), 0, 0.0)
    limiter.succeeded(a_batch(), 0, 1.0, 2.0)
    limiter.wait(a_batch(), 0, 3.0)
    for _ in range(8):
        limiter.take(a_batch(), 0, 3.0)
    after = limiter.pace(a_batch(), 0, 3.0)
    assert before is not None
    assert after is not None
    assert before.rate_qpm < after.rate_qpm < after.ceiling_qpm


def test_readings_are_calls_rate_and_tokens_of_each_credential_and_project() -> None:
    limiter = RateLimiter(QuotaLimits(608, 1218, 40_000, 1.0, 8), 1)
    limiter.assigned([0], 0.0)
    assert limiter.wait(a_batch(), 0, 60.0) == 0
    limiter.take(a_batch(), 0, 60.0)
    [credential, project] = limiter.readings(60.0)
    assert (credential.kind, credential.name) == ("credential", "acme")
    assert (credential.calls, credential.rate_qpm, credential.tokens) == (1, pytest.approx(60 * 1210 / 61), 7.0)
    assert (project.kind, project.name, project.calls, project.tokens) == ("project", "default", 1, 7.0)


def test_the_busiest_property_of_the_last_minute_is_known() -> None:
    limits = QuotaLimits(608, 10**6, 10**6, 1.0, 8, site_overrides={"sc-domain:small.com": 69})
    limiter = RateLimiter(limits, 1)
    limiter.assigned([0], 0.0)
    assert limiter.busiest_property(30.0) == BusiestProperty(0, 0)
    for _ in range(4):
        limiter.take(a_batch(), 0, 30.0)
    for _ in range(3):
        limiter.take(a_batch(property="sc-domain:small.com"), 0, 40.0)
    assert limiter.busiest_property(40.0) == (4, pytest.approx(3 / 60))
    assert limiter.busiest_property(95.0) == (3, pytest.approx(3 / 60))
    assert limiter.busiest_property(101.0) == BusiestProperty(0, 0)


def test_the_waits_of_a_credential_and_of_a_property_are_known_separately() -> None:
    limiter = RateLimiter(LIMITS, 12)
    limiter.assigned([0], 0.0)
    limiter.refused(a_batch(), 0, Refusal("property", 60.0, 9.0), 60.0)
    assert limiter.shared_wait("acme", 0, 60.0) == 0
    assert limiter.property_wait("sc-domain:example.com", 0, 60.0) == limiter.wait(a_batch(), 0, 60.0) == 9.0
    assert limiter.shared_wait("acme", 7, 60.0) > 0
    assert limiter.property_wait("sc-domain:example.com", 7, 60.0) > 0


def test_overrides_of_the_catalog_replace_the_defaults() -> None:
    limits = QuotaLimits(1200, 1200, 40_000, 0.8, 8, None, {"sc-domain:example.com": 100}, {"other": 50})
    limiter = RateLimiter(limits, 1)
    limiter.assigned([0], 0.0)
    pace = limiter.pace(a_batch(), 0, 0.0)
    assert str(pace) == "property sc-domain:example.com: 71 calls a minute"
    other = limiter.pace(a_batch(credential="other", property="sc-domain:other.com"), 0, 0.0)
    assert str(other) == "credential other: 31 calls a minute"


def test_other_quotas_apply_at_once_and_the_rest_keeps_its_tokens() -> None:
    limiter = RateLimiter(LIMITS, 1)
    limiter.assigned([0], 0.0)
    batch = a_batch()
    limiter.wait(batch, 0, 100.0)
    other = replace(LIMITS, site_overrides={batch.property: LIMITS.site_qpm // 2})
    limiter.replace_limits(other, 100.0)
    pace = {reading.name: reading for reading in limiter.readings(100.0)}
    assert pace[batch.credential].tokens == LIMITS.burst
    while limiter.wait(batch, 0, 100.0) <= 0:
        limiter.take(batch, 0, 100.0)
    slowest = limiter.pace(batch, 0, 100.0)
    assert slowest is not None
    assert (slowest.kind, slowest.name) == ("property", batch.property)
    assert slowest.rate_qpm == pytest.approx(LIMITS.allowance(LIMITS.site_qpm // 2).rate * 60)


def two_projects(**changes: Any) -> RateLimiter:
    """A fetcher with all partitions, for a credential `acme` of project `a` and `other` of project `b`."""
    limits = QuotaLimits(10**6, 10**6, 1200, 0.8, 4, projects={"acme": "a", "other": "b"}, **changes)
    limiter = RateLimiter(limits, 2)
    limiter.assigned([0, 1], 0.0)
    return limiter


def test_each_project_has_a_quota_of_its_own() -> None:
    limiter = two_projects(project_overrides={"b": 600})
    calls = {"acme": 0, "other": 0, "unknown": 0}
    for step in range(6000):
        for credential in calls:
            if limiter.wait(a_batch(credential=credential), 0, step / 100) <= 0:
                limiter.take(a_batch(credential=credential), 0, step / 100)
                calls[credential] += 1
    assert calls["acme"] == pytest.approx(0.8 * 1200, rel=0.05)
    assert calls["other"] == pytest.approx(0.8 * 600, rel=0.05)
    assert calls["unknown"] == pytest.approx(0.8 * 1200, rel=0.05)  # of the default project


def test_another_catalog_adds_projects_with_empty_buckets_and_changes_quotas() -> None:
    limiter = two_projects()
    limits = QuotaLimits(10**6, 10**6, 1200, 0.8, 4, projects={"acme": "c", "other": "b"}, project_overrides={"b": 600})
    limiter.replace_limits(limits, 60.0)
    assert limiter.shared_wait("acme", 0, 60.0) > 0
    assert limiter.shared_wait("acme", 0, 61.0) == 0
    rates = {reading.name: reading.rate_qpm for reading in limiter.readings(61.0) if reading.kind == "project"}
    assert rates["c"] == rates["default"] == pytest.approx(2 * rates["b"], rel=0.02)


def test_a_refusal_of_a_project_slows_down_no_other() -> None:
    limiter = two_projects()
    limiter.refused(a_batch(), 0, Refusal("project", 60.0, 30.0), 60.0)
    assert limiter.shared_wait("acme", 0, 60.0) == 30.0
    assert limiter.shared_wait("other", 1, 60.0) == 0
    assert str(limiter.pace(a_batch(), 0, 60.0)) == "project a: 470 calls a minute, cut from 939"
