"""Google's quotas, enforced over sliding windows. Pure: time comes in."""

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from lab.search_console.settings import FaultKind, Quotas

MINUTE_S = 60.0
LOAD_WINDOW_S = 600.0


class Asking(NamedTuple):
    """Who asks for what, and what it costs of the load quota; `today` is the Pacific date."""

    site: str
    user: str
    load: int
    today: date


@dataclass
class _Window:
    """Costs within the last `seconds`."""

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
    """Decides for each call whether a quota refuses it; refused calls do not count, for no quota."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str], _Window] = {}
        self._today = date.min
        self._calls_today = 0

    def refusal(self, quotas: Quotas, asking: Asking, now: float) -> FaultKind | None:
        """The kind of fault that a refused call is answered with, or None."""
        site = asking.site
        checks: tuple[tuple[str, str, float, int, int | None, FaultKind], ...] = (
            ("project", "", MINUTE_S, 1, quotas.project_qpm, "rateLimitExceeded"),
            ("user", asking.user, MINUTE_S, 1, quotas.user_qpm, "userRateLimitExceeded"),
            ("site", site, MINUTE_S, 1, quotas.site_qpm, "quotaExceeded"),
            ("second", site, 1.0, 1, quotas.site_qps, "quotaExceeded"),
            ("load", site, LOAD_WINDOW_S, asking.load, quotas.site_load, "loadQuota"),
        )
        windows = []
        for kind, name, seconds, cost, limit, refusal in checks:
            window = self._windows.setdefault((kind, name), _Window(seconds))
            if not window.has_room(now, cost, limit):
                return refusal
            windows.append((window, cost))
        if not self._has_room_today(quotas.project_qpd, asking.today):
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
    """The most arrivals in any half-open window of that length; `times` ascending."""
    return max((bisect_right(times, end) - bisect_right(times, end - seconds) for end in times), default=0)


def highest_by(names: Sequence[str], times: Sequence[float]) -> dict[str, int]:
    """The highest minute of each name; the two sequences go together."""
    grouped: dict[str, list[float]] = defaultdict(list)
    for name, moment in zip(names, times, strict=True):
        grouped[name].append(moment)
    return {name: highest_window(moments) for name, moments in grouped.items()}
