"""The simulator's own clock."""

import time
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

_PACIFIC = ZoneInfo("America/Los_Angeles")
HISTORY = timedelta(days=487)  # 16 months
FINAL_AFTER = timedelta(days=3)
HOURS_KEPT = timedelta(days=10)


def monotonic() -> float:
    """Seconds that never jump."""
    return time.monotonic()


def wall() -> float:
    """Seconds since 1970."""
    return time.time()  # noqa: TID251 - the simulator's one place that asks


def today(fixed: datetime | None) -> date:
    """The Pacific date, of `fixed` or of now."""
    return (fixed or datetime.fromtimestamp(wall(), UTC)).astimezone(_PACIFIC).date()


@cache
def hours_of(day: date) -> tuple[str, ...]:
    """The beginnings of the hours of a Pacific day: 24 of them, but for two days a year."""
    begin, end = (
        datetime(date_.year, date_.month, date_.day, tzinfo=_PACIFIC).astimezone(UTC)
        for date_ in (day, day + timedelta(days=1))
    )
    hours = (begin + timedelta(hours=number) for number in range((end - begin) // timedelta(hours=1)))
    return tuple(hour.astimezone(_PACIFIC).isoformat() for hour in hours)
