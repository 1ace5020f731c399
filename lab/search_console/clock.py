"""The simulator's own clock."""

import time
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

_PACIFIC = ZoneInfo("America/Los_Angeles")
HISTORY = timedelta(days=487)  # 16 months
FINAL_AFTER = timedelta(days=3)


def monotonic() -> float:
    """Seconds that never jump."""
    return time.monotonic()


def wall() -> float:
    """Seconds since 1970."""
    return time.time()  # noqa: TID251 - the simulator's one place that asks


def today(fixed: datetime | None) -> date:
    """The Pacific date, of `fixed` or of now."""
    return (fixed or datetime.fromtimestamp(wall(), UTC)).astimezone(_PACIFIC).date()
