import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.quota import MINUTE_S, Bucket, Limiter, Limits, rate_per_s
from pipeline.errors import Invalid
from support.examples import a_batch

LIMITS = Limits(site_qpm=1200, user_qpm=1200, project_qpm=40_000, headroom=0.8, burst=8)
gaps = st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=400)


def highest(times: list[float]) -> int:
    return max((sum(end - MINUTE_S < t <= end for t in times) for end in times), default=0)


def test_a_bucket_starts_empty_and_mints_at_its_rate() -> None:
    bucket = Bucket(rate=2.0, burst=4.0, since=100.0)
    assert bucket.wait(100.0) == pytest.approx(0.5)
    assert bucket.wait(100.5) == 0


@given(gaps=gaps, burst=st.integers(1, 20), qpm=st.integers(60, 1200))
def test_no_window_holds_more_than_the_headroom(gaps: list[float], burst: int, qpm: int) -> None:
    bucket = Bucket(rate_per_s(qpm, 0.8, burst), burst, 0.0)
    now, taken = 0.0, []
    for gap in gaps:
        now += gap
        while bucket.wait(now) <= 0:
            bucket.take()
            taken.append(now)
    assert highest(taken) <= 0.8 * qpm


@given(steps=st.lists(st.tuples(st.floats(0, 5), st.booleans()), min_size=1, max_size=300))
def test_the_bound_holds_through_hand_overs(steps: list[tuple[float, bool]]) -> None:
    """Another owner takes over at arbitrary moments; each begins with empty buckets."""
    batch, now, taken = a_batch(), 0.0, []
    limiter = Limiter(LIMITS, 12)
    limiter.assigned([0], now)
    for gap, hand_over in steps:
        now += gap
        if hand_over:
            limiter = Limiter(LIMITS, 12)
            limiter.assigned([0], now)
        while limiter.wait(batch, 0, now) <= 0:
            limiter.take(batch, 0)
            taken.append(now)
    assert highest(taken) <= 960


def test_every_scope_is_asked() -> None:
    limiter = Limiter(Limits(1200, 60, 40_000, 0.8, 1), 1)
    limiter.assigned([0], 0.0)
    one, other = a_batch(property="sc-domain:a.com"), a_batch(property="sc-domain:b.com")
    assert limiter.wait(one, 0, 10.0) == 0
    limiter.take(one, 0)
    assert limiter.wait(other, 0, 10.0) > 1  # another property, the same credential


def test_a_share_of_the_project_by_partitions() -> None:
    half = Limiter(Limits(10**6, 10**6, 600, 0.8, 1), 2)
    half.assigned([0], 0.0)
    taken = 0
    for tenth in range(6000):
        if half.wait(a_batch(), 0, tenth / 100) <= 0:
            half.take(a_batch(), 0)
            taken += 1
    assert 200 < taken <= 240


def test_a_refusal_cuts_the_rate_and_success_lets_it_climb() -> None:
    bucket = Bucket(10.0, 5.0, 0.0)
    bucket.wait(10.0)
    bucket.cut(10.0, retry_after=3.0)
    assert bucket.rate == 5.0
    assert bucket.wait(10.0) == pytest.approx(3.0)
    for _ in range(1000):
        bucket.climb()
    assert bucket.rate == 10.0


def test_a_revoked_partition_waits() -> None:
    limiter = Limiter(LIMITS, 12)
    limiter.assigned([0, 1], 0.0)
    limiter.revoked([0], 1.0)
    assert limiter.wait(a_batch(), 0, 100.0) > 0
    assert limiter.wait(a_batch(), 1, 100.0) == 0


def test_limits_that_cannot_hold_are_refused_with_the_numbers() -> None:
    with pytest.raises(
        Invalid, match=r"site_qpm of x: 10 a minute x headroom 0.8 = 8 leaves nothing beside a burst of 8"
    ):
        Limits(1200, 1200, 40_000, 0.8, 8, site_overrides={"x": 10}).check()
