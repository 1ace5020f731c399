"""The clocks. Modules with I/O call these functions; pure modules take the time as an argument."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return the current time, in UTC with a time zone."""
    return datetime.now(UTC)  # noqa: TID251 - the only use


def monotonic() -> float:
    """Return the seconds of a clock that never jumps, and that goes on while the process is stopped."""
    return time.monotonic()
