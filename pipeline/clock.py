"""The one place that asks for the time; everybody else is told.

Pure modules take `now` as an argument. I/O modules call these functions.
"""

import time
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

PACIFIC = ZoneInfo("America/Los_Angeles")  # Search Console's days are Pacific days


def now() -> datetime:
    """The wall clock, aware, in UTC."""
    return datetime.now(UTC)  # noqa: TID251 - this is the place


def monotonic() -> float:
    """Seconds on a clock that never jumps and runs on while the process is stopped."""
    return time.monotonic()


def pacific_date(moment: datetime) -> date:
    """The day that Search Console's dates are at in `moment`."""
    return moment.astimezone(PACIFIC).date()
