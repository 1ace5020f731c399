"""Figures from the simulator's call log. Pure; times are seconds on the simulator's monotonic clock."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from math import ceil
from typing import Any

Call = dict[str, Any]
"""A line of the log; `lab.search_console` has the fields."""
MINUTE_S = 60.0


def highest_minute(times: Sequence[float]) -> int:
    """Return the highest number of arrivals in any window of 60 s; `times` must be ascending."""
    return max((bisect_right(times, end) - bisect_right(times, end - MINUTE_S) for end in times), default=0)


def peaks(calls: Iterable[Call], by: Callable[[Call], str]) -> dict[str, int]:
    """Group the calls by name, and return the highest minute of each group."""
    times: dict[str, list[float]] = defaultdict(list)
    for call in calls:
        times[by(call)].append(call["arrived"])
    return {name: highest_minute(sorted(arrivals)) for name, arrivals in times.items()}


def minutes(calls: Iterable[Call], start: float, end: float) -> list[int]:
    """Return the number of calls in each complete minute between start and end."""
    times = sorted(call["arrived"] for call in calls)
    starts = [start + MINUTE_S * number for number in range(int((end - start) // MINUTE_S))]
    return [bisect_left(times, begin + MINUTE_S) - bisect_left(times, begin) for begin in starts]


def page_of(call: Call) -> tuple[object, ...]:
    """Return what identifies the requested page."""
    return call["site"], call["day"], call["search_type"], tuple(call["dimensions"]), call["start_row"]


def repeats(calls: Iterable[Call], start: float, end: float) -> int:
    """Return how many calls from start to end requested a page that an earlier call had received or could receive."""
    seen: set[tuple[object, ...]] = set()
    count = 0
    for call in sorted(calls, key=lambda call: float(call["arrived"])):
        if not _received(call):
            continue
        page = page_of(call)
        count += page in seen and start <= call["arrived"] < end
        seen.add(page)
    return count


def _received(call: Call) -> bool:
    """Whether the client received the complete response, or still may: status 0 is a call under way."""
    return call["status"] in (0, 200) and call["fault"] in ("", "stall", "stall_body", "trickle")


def last_after(calls: Iterable[Call], moment: float) -> float:
    """Return the seconds from the moment to the last call that arrived after it; 0 when none did."""
    return max((call["arrived"] - moment for call in calls if call["arrived"] > moment), default=0.0)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the percentile by the nearest-rank method; `share` is between 0 and 1, and `values` is not empty."""
    rank = ceil(share * len(values) - 1e-6)  # the tolerance is for rounding errors of the product
    return sorted(values)[min(len(values), max(1, rank)) - 1]
