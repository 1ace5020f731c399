"""The log of all calls."""

from datetime import date
from typing import get_args

from msgspec import Struct

from lab.search_console import clock
from lab.search_console.settings import CallKind

KINDS: tuple[CallKind, ...] = get_args(CallKind)


class Call(Struct, kw_only=True):
    """One call. `arrived` and `finished` are on the simulator's monotonic clock, `at` is in seconds since 1970; `index`
    counts the calls of a kind; `fault` is the fault applied to the answer.
    """

    index: int
    arrived: float
    at: float
    kind: CallKind = "query"
    user: str = ""
    site: str = ""
    day: date | None = None
    search_type: str = ""
    dimensions: tuple[str, ...] = ()
    start_row: int = 0
    status: int = 0
    finished: float | None = None
    in_batch: bool = False
    fault: str = ""


class Journal:
    """Calls by kind: only queries count towards the quotas of Search Analytics."""

    def __init__(self) -> None:
        self._calls: dict[CallKind, list[Call]] = {kind: [] for kind in KINDS}

    def add(self, kind: CallKind, *, in_batch: bool = False) -> Call:
        """Add a call that arrives now."""
        calls = self._calls[kind]
        call = Call(index=len(calls), arrived=clock.monotonic(), at=clock.wall(), kind=kind, in_batch=in_batch)
        calls.append(call)
        return call

    def of(self, kind: CallKind) -> list[Call]:
        """Return the calls of a kind in order of arrival."""
        return self._calls[kind]

    def all(self) -> list[Call]:
        """Return all calls in order of arrival."""
        return sorted((call for calls in self._calls.values() for call in calls), key=lambda call: call.arrived)
