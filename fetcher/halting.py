"""Which scope a halt is for, and how long a spent budget is left alone. Pure."""

from datetime import datetime, time, timedelta

from fetcher.error_policy import Park
from pipeline.clock import PACIFIC
from pipeline.contracts.halts import ALL
from pipeline.contracts.messages import Batch, Control

AGAIN_WITHIN = timedelta(hours=1)
"""A budget that is refused so soon after a pause is spent for the day."""


def scope_of(batch: Batch, kind: str) -> str:
    """The halt scope of that kind that the batch lies in."""
    return {"property": f"property:{batch.property}", "credential": f"credential:{batch.credential}"}.get(kind, ALL)


def parked_until(verdict: Park, before: Control | None, now: datetime) -> datetime:
    """When to try again: after the pause; on the next Pacific day when `before`, the pause on trial, did not help."""
    if before is not None and before.until is not None and now < before.until + AGAIN_WITHIN:
        return next_pacific_day(now)
    return now + timedelta(seconds=verdict.seconds)


def next_pacific_day(now: datetime) -> datetime:
    """Midnight in California, when Google's daily budgets begin anew."""
    tomorrow = now.astimezone(PACIFIC).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), PACIFIC)
