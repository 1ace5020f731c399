"""Google's quotas, enforced over sliding windows. Pure: time comes in."""

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from lab.search_console.settings import FaultKind, Quotas

MINUTE_S = 60.0
LOAD_WINDOW_S = 600.0


@dataclass
class _Window:
    """Costs within the last `seconds`."""

    seconds: float
    arrivals: deque[tuple[float, int]] = field(default_factory=deque)
    total: int = 0

    def add(self, now: float, cost: int, limit: int | None) -> bool:
        while self.arrivals and self.arrivals[0][0] <= now - self.seconds:
            self.total -= self.arrivals.popleft()[1]
        if limit is not None and self.total + cost > limit:
            return False
        self.arrivals.append((now, cost))
        self.total += cost
        return True


class Enforcer:
    """Decides for each call whether a quota refuses it; refused calls do not count."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str], _Window] = {}

    def refusal(self, quotas: Quotas, site: str, user: str, load: int, now: float) -> FaultKind | None:
        """The kind of fault that a refused call is answered with, or None."""
        checks: tuple[tuple[str, str, float, int, int | None, FaultKind], ...] = (
            ("project", "", MINUTE_S, 1, quotas.project_qpm, "rateLimitExceeded"),
            ("user", user, MINUTE_S, 1, quotas.user_qpm, "userRateLimitExceeded"),
            ("site", site, MINUTE_S, 1, quotas.site_qpm, "quotaExceeded"),
            ("second", site, 1.0, 1, quotas.site_qps, "quotaExceeded"),
            ("load", site, LOAD_WINDOW_S, load, quotas.site_load, "loadQuota"),
        )
        for kind, name, seconds, cost, limit, refusal in checks:
            window = self._windows.setdefault((kind, name), _Window(seconds))
            if not window.add(now, cost, limit):
                return refusal
        return None


def highest_window(times: Sequence[float], seconds: float = MINUTE_S) -> int:
    """The most arrivals in any half-open window of that length; `times` ascending."""
    return max((bisect_right(times, end) - bisect_right(times, end - seconds) for end in times), default=0)


def highest_by(names: Sequence[str], times: Sequence[float]) -> dict[str, int]:
    """The highest minute of each name; the two sequences go together."""
    grouped: dict[str, list[float]] = defaultdict(list)
    for name, moment in zip(names, times, strict=True):
        grouped[name].append(moment)
    return {name: highest_window(moments) for name, moments in grouped.items()}
