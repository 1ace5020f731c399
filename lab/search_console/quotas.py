"""Google's quotas, enforced over sliding windows. Pure: time is an argument."""

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from lab.search_console.settings import FaultKind, Quotas

MINUTE_S = 60.0
LOAD_WINDOW_S = 600.0


class Attempt(NamedTuple):
    """A call to be counted: `load` is its cost in the load quota, `today` the Pacific date."""

    site: str
    user: str
    load: int
    today: date


@dataclass
class _Window:
    """Costs of the calls in the last `seconds`."""

    seconds: float
    arrivals: deque[tuple[float, int]] = field(default_factory=deque)
    total: int = 0

    def has_room(self, now: float, cost: int, limit: int | None) -> bool:
        while self.arrivals and self.arrivals[0][0] <= now - self.seconds:
            self.total -= self.arrivals.popleft()[1]
        return limit is None or self.total + cost <= limit

    def add(self, now: float, cost: int) -> None:
        self.arrivals.append((now, cost))
        self.total += cost


class Enforcer:
    """Decides for each call whether a quota refuses it. A refused call counts towards no quota."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str], _Window] = {}
        self._today = date.min
        self._calls_today = 0

    def refusal(self, quotas: Quotas, attempt: Attempt, now: float) -> FaultKind | None:
        """Return the kind of error answer for a refused call, or None when the call is allowed."""
        site = attempt.site
        checks: tuple[tuple[str, str, float, int, int | None, FaultKind], ...] = (
            ("project", "", MINUTE_S, 1, quotas.project_qpm, "rateLimitExceeded"),
            ("user", attempt.user, MINUTE_S, 1, quotas.user_qpm, "userRateLimitExceeded"),
            ("site", site, MINUTE_S, 1, quotas.site_qpm, "quotaExceeded"),
            ("second", site, 1.0, 1, quotas.site_qps, "quotaExceeded"),
            ("load", site, LOAD_WINDOW_S, attempt.load, quotas.site_load, "loadQuota"),
        )
        windows = []
        for kind, name, seconds, cost, limit, refusal in checks:
            window = self._windows.setdefault((kind, name), _Window(seconds))
            if not window.has_room(now, cost, limit):
                return refusal
            windows.append((window, cost))
        if not self._has_room_today(quotas.project_qpd, attempt.today):
            return "dailyLimitExceeded"
        self._calls_today += 1
        for window, cost in windows:
            window.add(now, cost)
        return None

    def _has_room_today(self, limit: int | None, today: date) -> bool:
        if today != self._today:
            self._today, self._calls_today = today, 0
        return limit is None or self._calls_today < limit


def highest_window(times: Sequence[float], seconds: float = MINUTE_S) -> int:
    """Return the most arrivals in any half-open window of that length; `times` is ascending."""
    return max((bisect_right(times, end) - bisect_right(times, end - seconds) for end in times), default=0)


def highest_by(names: Sequence[str], times: Sequence[float]) -> dict[str, int]:
    """Return the highest minute of each name; both sequences have the same order."""
    grouped: dict[str, list[float]] = defaultdict(list)
    for name, moment in zip(names, times, strict=True):
        grouped[name].append(moment)
    return {name: highest_window(moments) for name, moments in grouped.items()}
