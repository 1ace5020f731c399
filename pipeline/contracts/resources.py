"""What the command line prints with `--json` and the HTTP API answers: one shape for each thing, as data. Pure."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from pipeline.contracts.messages import Cause

UtcTime = Annotated[datetime, Meta(tz=True)]
"""A time in UTC, to the second: `2026-03-01T12:00:00Z`."""

FINAL_STATES = ("applied", "dead", "cancelled")
"""No service works on a page in one of these states. DESIGN.md lists how it can leave them: an unchanged page may be
fetched again, and a dead one becomes applied by a late result, or pending by a redrive."""


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
    accepted_at: UtcTime
    planned_at: UtcTime | None
    cancelled_at: UtcTime | None
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


class AcceptedSync(Struct, frozen=True):
    """A sync request that Kafka has, and the run that it becomes."""

    request_id: str
    run_id: str


class CancelledRun(Struct, frozen=True):
    """A run that was cancelled."""

    run_id: str
    cancelled_pages: int
    """Pages that were unfinished until now."""


class HaltRecord(Struct, frozen=True):
    """The newest control record of a scope: a halt, or its end."""

    scope: str
    state: Literal["running", "halted"]
    reason: str
    actor: str
    at: UtcTime
    until: UtcTime | None
    """When the halt ends; null: when it is resumed."""
    cause: Cause


class HaltList(Struct, frozen=True):
    """The active halts, by scope."""

    halts: list[HaltRecord]


class DayRecord(Struct, frozen=True):
    """A day of a series: what the table has of it."""

    property: str
    report: str
    search_type: str
    date: date
    complete: bool
    """Whether every page of one generation is applied."""
    completed_at: UtcTime | None
    rows: int | None
    truncated: bool
    """At the cap of rows that Google lists for a day: some rows are missing."""
    may_change: bool
    """Google calls the day incomplete."""


class DayList(Struct, frozen=True):
    """Days of a property, the newest first."""

    days: list[DayRecord]


ServiceName = Literal["producer", "fetcher", "sink"]


class ServiceStatus(Struct, frozen=True):
    """A service: how many processes of it work, and how much waits for them."""

    service: ServiceName
    processes: int
    """Members of its consumer group."""
    lag: int
    """Messages that wait for it: sync requests, batches, results."""


class CredentialStatus(Struct, frozen=True, kw_only=True):
    """A credential: what it has to fetch, and why that waits."""

    credential: str
    properties: int
    newest_complete_day: date | None
    """Of its property that is furthest behind; null when one has none."""
    pending: int = 0
    """Pages that are not published."""
    published: int = 0
    oldest_s: int = 0
    """Seconds since the oldest request with an unfinished page was accepted."""
    waits_for: str = ""
    """Empty: for nothing but its turn."""
    reason: str = ""
    until: UtcTime | None = None
    """When the wait ends, if that is known."""
    eta_s: float | None = None
    """Seconds to the end at the credential's quota; null while a halt without an end holds it."""

    @property
    def unfinished(self) -> int:
        """Pages without a result."""
        return self.pending + self.published


class PropertyStatus(Struct, frozen=True, kw_only=True):
    """A property: what the table has, and what is not fetched yet."""

    property: str
    credential: str
    newest_complete_day: date | None
    """Of its series that is furthest behind; null when one has none."""
    unfinished: int = 0
    """Pages without a result."""
    reason: str = ""
    """Why they wait: a halt of the property, or what the credential waits for."""
    until: UtcTime | None = None


class PartitionReport(Struct, frozen=True, kw_only=True):
    """A partition of `gsc.batches`, as its fetcher reports it."""

    partition: int
    state: str
    lag: int
    sink_lag: int
    reason: str
    until: UtcTime | None
    reported_at: UtcTime


class StatusReport(Struct, frozen=True, kw_only=True):
    """What the pipeline does, what is late, and why."""

    at: UtcTime
    services: list[ServiceStatus]
    has_leader: bool
    """Whether a producer is the leader, which publishes pages."""
    credentials: list[CredentialStatus]
    properties: list[PropertyStatus]
    partitions: list[PartitionReport]
    planning: list[RunProgress]
    """Accepted runs of which not every page is planned yet."""
    pages: dict[str, int]
    """Numbers of pages of the runs of the last 30 days, by state."""
    unchanged_pages: int
    """How many of the applied ones had the rows that the table had already."""
    days: dict[str, int]
    """Numbers of days of all series: complete, pending, truncated, and so on."""
    halts: list[str]
    """Halted scopes."""


class FieldError(Struct, frozen=True):
    """What is wrong with a field of a request."""

    field: str
    message: str


class ProblemDetails(Struct, frozen=True, kw_only=True):
    """An error, as in RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int | None = None
    """The status of the HTTP response; null on the command line."""
    detail: str
    field: str | None = None
    """The field, option or argument that is wrong."""
    errors: list[FieldError] = []
    """Everything that is wrong, when more than one field can be."""
