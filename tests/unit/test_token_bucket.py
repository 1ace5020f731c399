"""Token buckets, and the counter of the calls of a minute."""

import pytest

from fetcher.token_bucket import FLOOR, MinuteCounter, TokenBucket


def test_a_bucket_starts_empty_and_fills_at_its_rate() -> None:
    bucket = TokenBucket(rate=2.0, burst=4.0, since=100.0)
    assert bucket.wait(100.0) == pytest.approx(0.5)
    assert bucket.wait(100.5) == 0


def test_a_refusal_cuts_the_rate_and_success_lets_it_climb() -> None:
    bucket = TokenBucket(10.0, 5.0, 0.0)
    bucket.wait(10.0)
    bucket.cut(10.0, retry_after=3.0)
    assert bucket.rate == 5.0
    assert bucket.wait(10.0) == pytest.approx(3.0)
    for _ in range(1000):
        bucket.climb()
    assert bucket.rate == 10.0


def test_a_cut_of_the_rate_stays_in_proportion_when_the_share_changes() -> None:
    bucket = TokenBucket(10.0, 5.0, 0.0)
    bucket.cut(1.0, None)
    bucket.resize(20.0, 10.0, 2.0)
    assert (bucket.rate, bucket.ceiling) == (10.0, 20.0)


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
    for _ in range(20):
        bucket.cut(1.0, None)
    assert bucket.rate == pytest.approx(10.0 * FLOOR)


def test_a_resize_drops_tokens_above_the_new_burst() -> None:
    bucket = TokenBucket(10.0, 5.0, 0.0)
    assert bucket.tokens(10.0) == 5.0
    bucket.resize(5.0, 2.0, 10.0)
    assert bucket.tokens(10.0) == 2.0
