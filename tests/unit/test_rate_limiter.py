import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetcher.rate_limiter import Pace, RateLimiter, Spending
from fetcher.token_bucket import MINUTE_S, MinuteCounter, QuotaLimits, TokenBucket, rate_per_s
from pipeline.contracts.messages import Batch
from pipeline.errors import Invalid
from support.examples import a_batch

LIMITS = QuotaLimits(site_qpm=1200, user_qpm=1200, project_qpm=40_000, headroom=0.8, burst=8)
gaps = st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=400)


def highest(times: list[float]) -> int:
    return max((sum(end - MINUTE_S < t <= end for t in times) for end in times), default=0)


def test_a_bucket_starts_empty_and_mints_at_its_rate() -> None:
    bucket = TokenBucket(rate=2.0, burst=4.0, since=100.0)
    assert bucket.wait(100.0) == pytest.approx(0.5)
    assert bucket.wait(100.5) == 0


@given(gaps=gaps, burst=st.integers(1, 20), qpm=st.integers(60, 1200))
def test_no_window_holds_more_than_the_headroom(gaps: list[float], burst: int, qpm: int) -> None:
    bucket = TokenBucket(rate_per_s(qpm, 0.8, burst), burst, 0.0)
    now, taken = 0.0, []
    for gap in gaps:
        now += gap
        while bucket.wait(now) <= 0:
            bucket.take()
            taken.append(now)
    assert highest(taken) <= 0.8 * qpm


class Fleet:
    """Fetchers over all partitions, each with a limiter; partitions change hands, and every grant is noted."""

    def __init__(self, limits: QuotaLimits, partitions: int) -> None:
        self.limits = limits
        self.partitions = partitions
        self.fetchers = [RateLimiter(limits, partitions)]
        self.owner = dict.fromkeys(range(partitions), 0)
        self.fetchers[0].assigned(range(partitions), 0.0)
        self.grants: dict[str, list[float]] = {}

    def batch(self, partition: int, number: int) -> Batch:
        """Of the one credential of the partition, and of its n-th property."""
        return a_batch(credential=f"c{partition}", property=f"sc-domain:p{partition}-{number}.com")

    def join(self, now: float) -> None:
        """A new fetcher takes every other partition of the one that has most."""
        self.fetchers.append(RateLimiter(self.limits, self.partitions))
        owners = list(self.owner.values())
        busiest = max(set(owners), key=owners.count)
        moved = [p for p, owner in self.owner.items() if owner == busiest][::2]
        self.hand_over(moved, busiest, len(self.fetchers) - 1, now)

    def leave(self, now: float) -> None:
        """One goes, cleanly or not: what it had is another's, which begins with empty buckets."""
        gone = self.owner[0]
        moved = [p for p, owner in self.owner.items() if owner == gone]
        self.fetchers.append(RateLimiter(self.limits, self.partitions))
        self.hand_over(moved, gone, len(self.fetchers) - 1, now)

    def hand_over(self, moved: list[int], before: int, after: int, now: float) -> None:
        self.fetchers[before].revoked(moved, now)
        self.fetchers[after].assigned(moved, now)
        self.owner.update(dict.fromkeys(moved, after))

    def spend(self, now: float) -> None:
        """Everybody calls as much as it may, round and round."""
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
    project_qpm=st.integers(60, 300),
    burst=st.integers(1, 8),
)
def test_the_bound_holds_for_every_scope_through_any_churn(
    steps: list[tuple[float, str]], project_qpm: int, burst: int
) -> None:
    """Against a sliding window, on a clock that also steps back; the project's bound over all fetchers together."""
    limits = QuotaLimits(site_qpm=60, user_qpm=90, project_qpm=project_qpm, headroom=0.8, burst=burst)
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
        assert highest(sorted(times)) <= 0.8 * qpm, scope


def test_the_project_is_used_whole_by_all_fetchers_together() -> None:
    fleet = Fleet(QuotaLimits(10**5, 10**5, 1200, 0.8, 4), 4)
    fleet.join(0.0)
    for tenth in range(3000):
        fleet.spend(tenth / 10)
    assert 0.95 * 960 * 5 < len(fleet.grants["project"]) <= 960 * 5


def test_every_scope_is_asked() -> None:
    limiter = RateLimiter(QuotaLimits(1200, 60, 40_000, 0.8, 1), 1)
    limiter.assigned([0], 0.0)
    one, other = a_batch(property="sc-domain:a.com"), a_batch(property="sc-domain:b.com")
    assert limiter.wait(one, 0, 10.0) == 0
    limiter.take(one, 0, 10.0)
    assert limiter.wait(other, 0, 10.0) > 1  # another property, the same credential


def test_a_share_of_the_project_by_partitions() -> None:
    half = RateLimiter(QuotaLimits(10**6, 10**6, 600, 0.8, 1), 2)
    half.assigned([0], 0.0)
    taken = 0
    for tenth in range(6000):
        if half.wait(a_batch(), 0, tenth / 100) <= 0:
            half.take(a_batch(), 0, tenth / 100)
            taken += 1
    assert 200 < taken <= 240


def test_a_refusal_cuts_the_rate_and_success_lets_it_climb() -> None:
    bucket = TokenBucket(10.0, 5.0, 0.0)
    bucket.wait(10.0)
    bucket.cut(10.0, retry_after=3.0)
    assert bucket.rate == 5.0
    assert bucket.wait(10.0) == pytest.approx(3.0)
    for _ in range(1000):
        bucket.climb()
    assert bucket.rate == 10.0


def test_a_revoked_partition_waits() -> None:
    limiter = RateLimiter(LIMITS, 12)
    limiter.assigned([0, 1], 0.0)
    limiter.revoked([0], 1.0)
    assert limiter.wait(a_batch(), 0, 100.0) > 0
    assert limiter.wait(a_batch(), 1, 100.0) == 0


def test_limits_that_cannot_hold_are_refused_with_the_numbers() -> None:
    with pytest.raises(
        Invalid, match=r"site_qpm of x: 10 a minute x headroom 0.8 = 8 leaves nothing beside a burst of 8"
    ):
        QuotaLimits(1200, 1200, 40_000, 0.8, 8, site_overrides={"x": 10}).check()


def test_what_was_learned_holds_when_the_share_changes() -> None:
    bucket = TokenBucket(10.0, 5.0, 0.0)
    bucket.cut(1.0, None)
    bucket.resize(20.0, 10.0, 2.0)
    assert (bucket.rate, bucket.ceiling) == (10.0, 20.0)


def test_the_slowest_scope_is_told_with_its_rate() -> None:
    limiter = RateLimiter(QuotaLimits(1200, 600, 40_000, 0.8, 8), 12)
    limiter.assigned([3], 0.0)
    pace = limiter.pace(a_batch(), 3, 0.0)
    assert isinstance(pace, Pace)
    assert (pace.kind, pace.name) == ("credential", "acme")
    assert str(pace) == "credential acme: 464 calls a minute"
    limiter.refused(a_batch(), 3, "credential", 0.0, 30.0)
    cut = limiter.pace(a_batch(), 3, 0.0)
    assert cut is not None
    assert cut.seconds == 30.0
    assert str(cut) == "credential acme: 232 calls a minute, cut from 464"
    assert limiter.pace(a_batch(), 3, 60.0) is None


def test_an_optional_cap_a_second() -> None:
    limiter = RateLimiter(QuotaLimits(1200, 1200, 40_000, 0.8, 8, site_qps=2.0), 12)
    limiter.assigned([0], 0.0)
    taken = 0
    for hundredth in range(1000):
        if limiter.wait(a_batch(), 0, 5 + hundredth / 100) <= 0:
            limiter.take(a_batch(), 0, 5 + hundredth / 100)
            taken += 1
    assert taken in (20, 21)


def test_a_meter_counts_the_last_minute() -> None:
    meter = MinuteCounter()
    for second in range(100):
        meter.add(1000.0 + second)
    assert meter.calls(1099.0) == 60
    assert meter.calls(1129.5) == 30
    assert meter.calls(5000.0) == 0


def test_a_warning_at_80_percent_of_the_hard_quota_once() -> None:
    limiter = RateLimiter(QuotaLimits(100, 10**6, 10**6, 1.0, 5), 1)
    limiter.assigned([0], 0.0)
    now, warnings = 0.0, []
    while now < 240.0:
        if limiter.wait(a_batch(), 0, now) <= 0:
            warnings += limiter.take(a_batch(), 0, now)
        now += 0.1
    assert {(item.kind, item.name, item.calls) for item in warnings} == {("property", "sc-domain:example.com", 80)}
    assert isinstance(warnings[0], Spending)
    within = RateLimiter(LIMITS, 1)  # the default headroom never comes there
    within.assigned([0], 0.0)
    calls = [within.take(a_batch(), 0, t / 20) for t in range(6000) if within.wait(a_batch(), 0, t / 20) <= 0]
    assert len(calls) > 4000
    assert not any(calls)
