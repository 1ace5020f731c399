"""Token buckets, and the counter of the calls of a minute."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.token_bucket import CLIMB_S, FLOOR, MinuteCounter, TokenBucket


def test_a_bucket_starts_empty_and_fills_at_its_rate() -> None:
    bucket = TokenBucket(rate=2.0, burst=4.0, since=100.0)
    assert bucket.wait(100.0) == pytest.approx(0.5)
    assert bucket.wait(100.5) == 0


def test_a_refusal_cuts_the_rate_and_a_success_lets_it_climb() -> None:
    bucket = TokenBucket(10.0, 5.0, 0.0)
    bucket.wait(10.0)
    bucket.cut(9.0, 10.0, retry_after=3.0)
    assert bucket.rate == 5.0
    assert bucket.wait(10.0) == pytest.approx(3.0)
    bucket.tokens(100.0)
    assert bucket.rate == 5.0
    bucket.recover(99.0, 100.0)
    bucket.tokens(100.0 + CLIMB_S / 2)
    assert bucket.rate == pytest.approx(7.5)
    bucket.recover(109.0, 110.0)  # a second success makes it no faster
    bucket.tokens(100.0 + CLIMB_S)
    assert bucket.rate == pytest.approx(10.0)
    bucket.tokens(1000.0)
    assert bucket.rate == 10.0


def test_calls_in_flight_at_a_cut_neither_cut_again_nor_let_the_rate_climb() -> None:
    bucket = TokenBucket(10.0, 5.0, 0.0)
    for _ in range(32):
        bucket.cut(9.0, 10.0, None)
    assert bucket.rate == 5.0
    bucket.cut(9.5, 11.0, retry_after=60.0)
    assert (bucket.rate, bucket.wait(11.0)) == (5.0, 60.0)
    bucket.recover(9.5, 12.0)
    bucket.tokens(30.0)
    assert bucket.rate == 5.0
    bucket.cut(10.5, 30.0, None)
    assert bucket.rate == 2.5


@given(rate=st.floats(0.1, 100), passed=st.floats(0, 30), missing=st.floats(0.01, 50))
def test_the_wait_is_exact_while_the_rate_climbs(rate: float, passed: float, missing: float) -> None:
    bucket = TokenBucket(rate, 100.0, 0.0)
    bucket.cut(0.0, 0.0, None)
    bucket.recover(1.0, 1.0)
    now = 1.0 + passed
    tokens = bucket.tokens(now)
    for _ in range(int(tokens + missing)):
        bucket.take()
    wait = bucket.wait(now)
    assert bucket.wait(now + wait) == pytest.approx(0.0, abs=1e-6)
    if wait > 0.01:
        other = TokenBucket(rate, 100.0, 0.0)
        other.cut(0.0, 0.0, None)
        other.recover(1.0, 1.0)
        other.tokens(now)
        for _ in range(int(tokens + missing)):
            other.take()
        assert other.wait(now + 0.9 * wait) > 0


@pytest.mark.parametrize("latency_s", [0.1, 4.0])
def test_after_refusals_of_40_seconds_the_rate_is_at_its_ceiling_within_30(latency_s: float) -> None:
    """A credential at 8 calls a second with up to 32 in flight; whatever arrives from 100 to 140 s is refused."""
    bucket = TokenBucket(8.0, 8.0, 0.0)
    in_flight: list[float] = []
    successes, refusals, started = [], [], []
    for now in (step / 50 for step in range(220 * 50)):
        for call in [call for call in in_flight if call + latency_s <= now]:
            in_flight.remove(call)
            if 100 <= call < 140:
                refusals.append(now)
                bucket.cut(call, now, None)
            else:
                successes.append(now)
                bucket.recover(call, now)
        while len(in_flight) < 33 and bucket.wait(now) <= 0:
            bucket.take()
            in_flight.append(now)
            started.append(now)
    first = min(moment for moment in successes if moment > 140 + latency_s)
    assert first < 140 + latency_s + 10  # at the floor, a call every 6 s
    assert max(refusals) <= 140 + latency_s
    at_the_ceiling = [moment for moment in started if first + 30 <= moment < first + 40]
    assert len(at_the_ceiling) >= 79
    assert bucket.rate == 8.0


def test_a_cut_of_the_rate_stays_in_proportion_when_the_share_changes() -> None:
    bucket = TokenBucket(10.0, 5.0, 0.0)
    bucket.cut(0.0, 1.0, None)
    bucket.recover(2.0, 2.0)
    bucket.resize(20.0, 10.0, 2.0)
    assert (bucket.rate, bucket.ceiling) == (10.0, 20.0)
    bucket.tokens(2.0 + CLIMB_S)
    assert bucket.rate == pytest.approx(20.0)


def test_a_counter_counts_the_calls_of_the_last_minute() -> None:
    counter = MinuteCounter()
    for second in range(100):
        counter.add(1000.0 + second)
    assert counter.calls(1099.0) == 60
    assert counter.calls(1129.5) == 30
    assert counter.calls(5000.0) == 0


def test_a_bucket_holds_no_more_than_its_burst() -> None:
    bucket = TokenBucket(rate=2.0, burst=4.0, since=0.0)
    assert bucket.tokens(100.0) == 4.0
    bucket.take()
    assert bucket.tokens(100.0) == 3.0


def test_a_clock_that_steps_back_adds_no_tokens() -> None:
    bucket = TokenBucket(rate=1.0, burst=10.0, since=0.0)
    assert bucket.tokens(5.0) == 5.0
    assert bucket.tokens(2.0) == 5.0
    assert bucket.tokens(6.0) == 6.0


def test_refusals_never_cut_the_rate_below_the_floor() -> None:
    bucket = TokenBucket(10.0, 5.0, 0.0)
    for second in range(20):
        bucket.cut(second, second, None)
    assert bucket.rate == pytest.approx(10.0 * FLOOR)


def test_a_resize_drops_tokens_above_the_new_burst() -> None:
    bucket = TokenBucket(10.0, 5.0, 0.0)
    assert bucket.tokens(10.0) == 5.0
    bucket.resize(5.0, 2.0, 10.0)
    assert bucket.tokens(10.0) == 2.0
