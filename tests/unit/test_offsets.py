import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.offsets import METADATA_LIMIT, OffsetTracker


@given(count=st.integers(1, 60), order=st.randoms(), done=st.integers(0, 60))
def test_only_contiguous_offsets_are_committable_and_the_rest_is_in_the_metadata(
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


def test_gaps_in_the_offsets_do_not_block_the_commit() -> None:
    tracker = OffsetTracker(0)
    for offset in (0, 5, 9):
        tracker.started(offset)
        tracker.done(offset)
    assert tracker.committable == 10
    assert tracker.in_flight == 0


def test_a_new_owner_commits_past_offsets_done_by_the_previous_one() -> None:
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


@given(st.text())
def test_unknown_metadata_is_ignored(text: str) -> None:
    assert OffsetTracker(7, text if not text.startswith("1:") else "1:garbage").committable == 7


def test_metadata_fits_the_brokers_limit() -> None:
    tracker = OffsetTracker(0)
    chooser = random.Random(1)
    for offset in range(200_000):
        tracker.started(offset)
    for offset in chooser.sample(range(1, 200_000), 60_000):
        tracker._done.add(offset)
    assert 0 < len(tracker.metadata) <= METADATA_LIMIT


@pytest.mark.parametrize("damaged", ["1:", "1:!!!", "1:" + "0" * 50])
def test_corrupt_metadata_skips_no_record(damaged: str) -> None:
    assert not OffsetTracker(0, damaged).is_done(0)
