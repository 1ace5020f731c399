"""The clocks. Modules with I/O call these functions; pure modules take the time as an argument."""

import time
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

PACIFIC = ZoneInfo("America/Los_Angeles")
"""The time zone of Search Console's dates and of Google's daily quotas."""


def now() -> datetime:
    """Return the current time, in UTC with a time zone."""
    return datetime.now(UTC)  # noqa: TID251 - the only use


def monotonic() -> float:
    """Return the seconds of a clock that never jumps, and that goes on while the process is stopped."""
    return time.monotonic()


def pacific_date(moment: datetime) -> date:
    """Return the date in Search Console's time zone at a moment."""
    return moment.astimezone(PACIFIC).date()
