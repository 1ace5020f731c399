"""Which scope a halt is for, and how long a spent budget is left alone. Pure."""

from datetime import datetime, time, timedelta

from fetcher.verdict import Park
from pipeline.clock import PACIFIC
from pipeline.contracts.messages import Batch
from pipeline.contracts.scopes import ALL

AGAIN_WITHIN = timedelta(hours=1)


def scope_of(batch: Batch, kind: str) -> str:
    """The halt scope of that kind that the batch lies in."""
    return {"property": f"property:{batch.property}", "credential": f"credential:{batch.credential}"}.get(kind, ALL)


class Parking:
    """Remembers when a scope was parked: refused again right after, its budget is spent for the day."""

    def __init__(self) -> None:
        self._until: dict[str, datetime] = {}

    def until(self, batch: Batch, verdict: Park, now: datetime) -> datetime:
        """When to try again: after the pause, and the second time on the next Pacific day."""
        scope = scope_of(batch, verdict.scope)
        before = self._until.get(scope)
        until = now + timedelta(seconds=verdict.seconds)
        if before is not None and before <= now < before + AGAIN_WITHIN:
            until = next_pacific_day(now)
        self._until[scope] = until
        return until

    def succeeded(self, batch: Batch) -> None:
        """A call of the batch's scopes went through: their budgets are there."""
        for kind in ("property", "credential"):
            self._until.pop(scope_of(batch, kind), None)


def next_pacific_day(now: datetime) -> datetime:
    """Midnight in California, when Google's daily budgets begin anew."""
    tomorrow = now.astimezone(PACIFIC).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), PACIFIC)
