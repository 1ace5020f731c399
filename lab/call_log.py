"""What the simulator's log of calls says. Pure: lines in, numbers out; times on the simulator's monotonic clock."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Call = dict[str, Any]
MINUTE_S = 60.0


def highest_minute(times: Sequence[float]) -> int:
    """The most arrivals in any window of 60 s; `times` ascending."""
    return max((bisect_right(times, end) - bisect_right(times, end - MINUTE_S) for end in times), default=0)


def peaks(calls: Iterable[Call], by: Callable[[Call], str]) -> dict[str, int]:
    """The highest minute of each name."""
    times: dict[str, list[float]] = defaultdict(list)
    for call in calls:
        times[by(call)].append(call["arrived"])
    return {name: highest_minute(sorted(arrivals)) for name, arrivals in times.items()}


def minutes(calls: Sequence[Call], start: float, end: float) -> list[int]:
    """Calls in each whole minute of a span."""
    times = sorted(call["arrived"] for call in calls)
    starts = [start + MINUTE_S * number for number in range(int((end - start) // MINUTE_S))]
    return [bisect_left(times, begin + MINUTE_S) - bisect_left(times, begin) for begin in starts]


def page_of(call: Call) -> tuple[object, ...]:
    """What was asked for."""
    return call["site"], call["day"], call["search_type"], tuple(call["dimensions"]), call["start_row"]


def repeats(calls: Iterable[Call], start: float, end: float) -> int:
    """Calls in a span for pages that had been answered, or were being answered, before."""
    seen: set[tuple[object, ...]] = set()
    count = 0
    for call in sorted(calls, key=lambda call: float(call["arrived"])):
        if not _answered(call):
            continue
        page = page_of(call)
        count += page in seen and start <= call["arrived"] < end
        seen.add(page)
    return count


def _answered(call: Call) -> bool:
    """Whether its answer went out whole, or may yet."""
    return call["status"] in (0, 200) and call["fault"] in ("", "stall")


def last_after(calls: Iterable[Call], moment: float) -> float:
    """Seconds from the moment to the last call that arrived after it; 0 when none did."""
    return max((call["arrived"] - moment for call in calls if call["arrived"] > moment), default=0.0)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, int(share * len(ordered) + 0.999999) - 1))]
