"""The offsets that may be committed, and the bitmap of those done above them."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.offsets import METADATA_LIMIT, OffsetTracker


@given(count=st.integers(1, 60), order=st.randoms(), done=st.integers(0, 60))
def test_a_commit_covers_contiguous_offsets_and_its_metadata_the_rest(
    count: int, order: random.Random, done: int
) -> None:
    tracker = OffsetTracker(100)
    offsets = list(range(100, 100 + count))
    for offset in offsets:
        tracker.started(offset)
    order.shuffle(offsets)
    finished = set(offsets[:done])
    for offset in offsets[:done]:
        tracker.done(offset)
    expected = next((o for o in range(100, 100 + count) if o not in finished), 100 + count)
    assert tracker.committable == expected
    after = OffsetTracker(tracker.committable, tracker.metadata)
    assert {o for o in range(expected, 100 + count) if after.is_done(o)} == {o for o in finished if o >= expected}


def test_gaps_in_the_log_do_not_hold_the_commit() -> None:
    tracker = OffsetTracker(0)
    for offset in (0, 5, 9):
        tracker.started(offset)
        tracker.done(offset)
    assert tracker.committable == 10
    assert tracker.in_flight == 0


def test_a_new_owner_commits_past_the_offsets_that_were_done_before() -> None:
    before = OffsetTracker(0)
    for offset in range(4):
        before.started(offset)
    for offset in (1, 2, 3):
        before.done(offset)
    after = OffsetTracker(before.committable, before.metadata)
    assert [after.is_done(offset) for offset in range(4)] == [False, True, True, True]
    after.started(0)
    after.done(0)
    after.started(4)
    assert after.committable == 4
    assert after.in_flight == 1


def test_offsets_done_beyond_the_records_that_were_read_are_kept() -> None:
    before = OffsetTracker(0)
    for offset in range(10):
        before.started(offset)
    for offset in (2, 9):
        before.done(offset)
    after = OffsetTracker(before.committable, before.metadata)
    for offset in (0, 1):
        after.started(offset)
        after.done(offset)
    assert after.committable == 3
    assert [offset for offset in range(3, 12) if after.is_done(offset)] == [9]


@pytest.mark.parametrize("stale", [95, 110])
def test_work_that_outlived_an_earlier_assignment_does_not_count(stale: int) -> None:
    tracker = OffsetTracker(100)
    tracker.done(stale)
    assert (tracker.committable, tracker.metadata) == (100, OffsetTracker(100).metadata)
    for offset in range(100, 111):
        tracker.started(offset)
    tracker.done(stale)
    assert tracker.committable == 100
    assert tracker.is_done(stale)


@given(st.text())
def test_metadata_of_other_programs_is_ignored(text: str) -> None:
    tracker = OffsetTracker(7, text.removeprefix("1:"))
    assert not any(tracker.is_done(offset) for offset in range(7, 2000))


@pytest.mark.parametrize("damaged", ["1:", "1:!!!", "1:" + "0" * 50, '1:"', "1:€"])
def test_damaged_metadata_skips_no_record(damaged: str) -> None:
    tracker = OffsetTracker(0, damaged)
    assert not any(tracker.is_done(offset) for offset in range(2000))


def test_metadata_fits_the_broker_when_many_offsets_are_done() -> None:
    tracker = OffsetTracker(0)
    tracker.started(0)
    offsets = sorted(random.Random(1).sample(range(1, 200_000), 60_000))
    for offset in offsets:
        tracker.started(offset)
        tracker.done(offset)
    assert 0 < len(tracker.metadata) <= METADATA_LIMIT
    after = OffsetTracker(0, tracker.metadata)
    assert [offset for offset in range(1, offsets[10]) if after.is_done(offset)] == offsets[:10]


def test_an_offset_too_far_ahead_is_left_out_of_the_metadata() -> None:
    tracker = OffsetTracker(0)
    tracker.started(0)
    tracker.started(10**8)
    tracker.done(10**8)
    assert tracker.metadata == ""
