"""Figures from the simulator's call log."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.call_log import highest_minute, last_after, minutes, page_of, peaks, percentile, repeats


def call(arrived: float, row: int = 0, *, status: int = 200, site: str = "a", fault: str = "") -> dict[str, Any]:
    return {
        "arrived": arrived, "site": site, "day": "2026-03-01", "search_type": "web", "dimensions": ["date"],
        "start_row": row, "status": status, "fault": fault,
    }  # fmt: skip


@given(times=st.lists(st.floats(0, 300), max_size=80))
def test_the_highest_minute_is_the_fullest_window_that_ends_with_a_call(times: list[float]) -> None:
    times.sort()
    assert highest_minute(times) == max((sum(end - 60 < t <= end for t in times) for end in times), default=0)


def test_peaks_are_grouped_by_name() -> None:
    calls = [call(second / 2, site="ab"[second % 2]) for second in range(300)]
    assert peaks(calls, lambda line: line["site"]) == {"a": 60, "b": 60}
    assert peaks(calls, lambda _: "all") == {"all": 120}
    assert peaks([], lambda line: line["site"]) == {}


def test_only_complete_minutes_are_counted() -> None:
    calls = [call(float(second)) for second in range(200)]
    assert minutes(calls, 10.0, 150.0) == [60, 60]
    assert minutes(calls, 10.0, 60.0) == []


def test_pages_differ_by_each_part_of_the_request() -> None:
    first = call(1.0)
    for name, value in {
        "site": "b", "day": "2026-03-02", "search_type": "image", "dimensions": ["date", "page"], "start_row": 1,
    }.items():  # fmt: skip
        assert page_of({**first, name: value}) != page_of(first)
    assert page_of({**first, "arrived": 2.0, "status": 500}) == page_of(first)


def test_a_repeat_is_a_call_for_a_page_that_was_received_before() -> None:
    calls = [call(1.0), call(2.0, 25_000), call(3.0, status=500), call(4.0), call(5.0, 25_000), call(6.0)]
    assert repeats(calls, 0.0, 10.0) == 3
    assert repeats(reversed(calls), 0.0, 10.0) == 3
    assert repeats(calls, 4.5, 5.5) == 1


@pytest.mark.parametrize(
    ("first", "count"),
    [
        (call(1.0, status=403), 0),
        (call(1.0, fault="reset"), 0),
        (call(1.0, fault="truncated"), 0),
        (call(1.0, fault="stall"), 1),
        (call(1.0, status=0), 1),
    ],
    ids=["refused", "reset", "truncated", "stalled", "under way"],
)
def test_a_call_counts_as_received_unless_its_response_failed(first: dict[str, Any], count: int) -> None:
    assert repeats([first, call(2.0)], 0.0, 10.0) == count


def test_the_last_call_is_measured_from_the_moment() -> None:
    assert last_after([call(1.0), call(2.5), call(2.0)], 1.5) == 1.0
    assert last_after([call(1.0)], 1.5) == 0.0
    assert last_after([], 1.5) == 0.0


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.02, 1), (0.5, 25), (0.58, 29), (0.99, 50), (1.0, 50)])
def test_percentiles_are_by_nearest_rank(share: float, value: int) -> None:
    assert percentile(list(range(50, 0, -1)), share) == value
