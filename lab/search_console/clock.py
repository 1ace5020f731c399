"""The simulator's clock."""

import time
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

_PACIFIC = ZoneInfo("America/Los_Angeles")
HISTORY = timedelta(days=487)  # 16 months
FINAL_AFTER = timedelta(days=3)
HOURS_KEPT = timedelta(days=10)


def monotonic() -> float:
    """Return seconds on a clock that never jumps."""
    return time.monotonic()


def wall() -> float:
    """Return seconds since 1970."""
    return time.time()  # noqa: TID251 - the only place where the simulator reads the clock


def today(fixed: datetime | None) -> date:
    """Return the Pacific date of `fixed`, or of the current time."""
    return (fixed or datetime.fromtimestamp(wall(), UTC)).astimezone(_PACIFIC).date()


@cache
def hours_of(day: date) -> tuple[str, ...]:
    """Return the start of each hour of a Pacific day: 24 hours, except on two days a year."""
    begin, end = (
        datetime(date_.year, date_.month, date_.day, tzinfo=_PACIFIC).astimezone(UTC)
        for date_ in (day, day + timedelta(days=1))
    )
    hours = (begin + timedelta(hours=number) for number in range((end - begin) // timedelta(hours=1)))
    return tuple(hour.astimezone(_PACIFIC).isoformat() for hour in hours)
