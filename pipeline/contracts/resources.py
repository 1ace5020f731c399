"""What the command line prints with `--json` and the HTTP API answers: one shape for each thing, as data. Pure."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Literal

from msgspec import Struct

FINAL_STATES = ("applied", "dead", "cancelled")
"""A page in one of these states stays there, until an operator acts."""


def finished_count(by_state: Mapping[str, int]) -> int:
    """Return how many of the pages, counted by state, are in a final state."""
    return sum(by_state.get(state, 0) for state in FINAL_STATES)


RunState = Literal["planning", "running", "finished", "cancelled"]


class RunProgress(Struct, frozen=True, kw_only=True):
    """A run, and how far it is."""

    run_id: str
    request_id: str
    generation: int
    state: RunState
    """`planning`: pages are being added, and none is published before all are there. `finished`: every page has a final
    state, which may be `dead`."""
    priority: Literal["daily", "backfill"]
    requested_by: str | None
    """Null for the run of a replay."""
    start: date | None
    end: date | None
    accepted_at: datetime
    planned_at: datetime | None
    cancelled_at: datetime | None
    pages: dict[str, int]
    """Numbers of pages by state."""
    rows: int
    """Rows of the applied pages."""
    finished_last_minute: int
    """Pages that reached a final state in the last minute."""

    @property
    def total(self) -> int:
        """The number of pages."""
        return sum(self.pages.values())

    @property
    def finished(self) -> int:
        """The number of pages in a final state."""
        return finished_count(self.pages)

    @property
    def eta_s(self) -> float | None:
        """Seconds to the end at the speed of the last minute; None when nothing was finished in it."""
        if self.finished == self.total:
            return None if self.planned_at is None else 0.0
        return 60 * (self.total - self.finished) / self.finished_last_minute if self.finished_last_minute else None


class RunList(Struct, frozen=True):
    """The newest runs, the newest first."""

    runs: list[RunProgress]
