"""The only module that reads the clock. Pure modules take `now` as an argument."""

import time
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

PACIFIC = ZoneInfo("America/Los_Angeles")
"""The time zone of Search Console's days."""


def now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)  # noqa: TID251 - the only place


def monotonic() -> float:
    """Return seconds on a clock that never jumps and that continues while the process is stopped."""
    return time.monotonic()


def pacific_date(moment: datetime) -> date:
    """Return the Pacific date, that is Search Console's day, at `moment`."""
    return moment.astimezone(PACIFIC).date()
