"""What the simulator's log of calls says."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.call_log import highest_minute, last_after, minutes, peaks, percentile, repeats


def a_call(arrived: float, row: int = 0, *, status: int = 200, site: str = "a", fault: str = "") -> dict[str, Any]:
    return {
        "arrived": arrived, "site": site, "day": "2026-03-01", "search_type": "web", "dimensions": ["date"],
        "start_row": row, "status": status, "fault": fault,
    }  # fmt: skip


@given(times=st.lists(st.floats(0, 300), max_size=80))
def test_the_highest_minute_is_the_highest_of_all(times: list[float]) -> None:
    times.sort()
    assert highest_minute(times) == max((sum(end - 60 < t <= end for t in times) for end in times), default=0)


def test_peaks_are_told_by_name() -> None:
    calls = [a_call(second / 2, site="ab"[second % 2]) for second in range(300)]
    assert peaks(calls, lambda call: call["site"]) == {"a": 60, "b": 60}
    assert peaks(calls, lambda _: "all") == {"all": 120}


def test_only_whole_minutes_count() -> None:
    calls = [a_call(float(second)) for second in range(200)]
    assert minutes(calls, 10.0, 150.0) == [60, 60]
    assert minutes(calls, 10.0, 60.0) == []


def test_a_repeat_is_a_page_asked_for_again() -> None:
    calls = [a_call(1.0), a_call(2.0, 25_000), a_call(3.0, status=500), a_call(4.0), a_call(5.0, 25_000), a_call(6.0)]
    assert repeats(calls, 0.0, 10.0) == 3
    assert repeats(calls, 4.5, 5.5) == 1
    assert repeats([a_call(1.0, status=403), a_call(2.0)], 0.0, 10.0) == 0
    assert repeats([a_call(1.0, fault="reset"), a_call(2.0)], 0.0, 10.0) == 0
    assert repeats([a_call(1.0, fault="stall"), a_call(2.0)], 0.0, 10.0) == 1


def test_the_last_call_after_a_moment() -> None:
    assert last_after([a_call(1.0), a_call(2.5), a_call(2.0)], 1.5) == 1.0
    assert last_after([a_call(1.0)], 1.5) == 0.0


@pytest.mark.parametrize(("share", "value"), [(0.5, 25), (0.99, 50), (0.02, 1), (1.0, 50)])
def test_percentiles_by_nearest_rank(share: float, value: int) -> None:
    assert percentile(list(range(1, 51)), share) == value
