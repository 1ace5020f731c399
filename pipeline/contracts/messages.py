"""The messages that cross a process boundary, version 1.

Rules of change: a new field needs a default. Renaming a field, or changing its type or meaning, is a new version.
Unknown fields are ignored, unknown versions are refused (see `codec`). Times are aware and in UTC; dates are those of
Search Console, in Pacific time. Implausible years are refused, because computations with them overflow in Python or
in PostgreSQL.
"""

from datetime import date, datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

SearchType = Literal["web", "image", "video", "news", "discover", "googleNews"]
DataState = Literal["final", "all", "hourly_all"]
Priority = Literal["daily", "backfill"]
Cause = Literal["operator", "budget", "permission", "credential", "unreadable"]

Name = Annotated[str, Meta(min_length=1, max_length=2048, pattern=r"^[^\x00]*$")]
"""PostgreSQL cannot store NUL."""
BatchId = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
Moment = Annotated[datetime, Meta(tz=True)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1, le=2**63 - 1)]
RowLimit = Annotated[int, Meta(ge=1, le=25_000)]


YEARS = range(2000, 2200)


def _check_years(**times: date | None) -> None:
    for name, time in times.items():
        if time is not None and time.year not in YEARS:
            raise ValueError(f"{name}: the year {time.year} is not from {YEARS.start} to {YEARS.stop - 1}")


class Message(Struct, frozen=True, kw_only=True, tag_field="type"):
    """The fields of every message: its type (the tag) and its version."""

    version: Literal[1] = field(default=1, name="v")


class SyncRequest(Message, frozen=True, kw_only=True, tag="sync"):
    """`gsc.sync-requests`: fetch these days. The same `request_id` again changes nothing."""

    request_id: Name
    properties: tuple[Name, ...] = ()
    """Property urls as in the catalog; empty with `all_properties`."""
    all_properties: bool = False
    start: date
    end: date
    """Inclusive, like the API's."""
    reports: tuple[Name, ...] = ()
    """Names of reports; empty: the reports that the catalog lists for each property."""
    priority: Priority = "backfill"
    requested_at: Moment
    requested_by: str = ""
    rolling: bool = False
    """A window that follows the calendar: days for which a report has no data yet, on the Pacific date of
    `requested_at`, are skipped."""

    def __post_init__(self) -> None:
        _check_years(start=self.start, end=self.end, requested_at=self.requested_at)


class Batch(Message, frozen=True, kw_only=True, tag="batch"):
    """`gsc.batches`: one page to fetch. Self-contained: a reader needs no catalog to understand it."""

    batch_id: BatchId
    """Derived from the page: see `identity.batch_id`."""
    run_id: Name
    generation: Positive
    """Later runs have larger generations; rows of an older one never overwrite those of a newer one."""
    priority: Priority
    credential: Name
    property: Name
    report: Name
    search_type: SearchType
    dimensions: tuple[Name, ...]
    """As sent to the API, including `date` where the report has it."""
    data_state: DataState
    date: date
    start_row: Count
    row_limit: RowLimit

    def __post_init__(self) -> None:
        _check_years(date=self.date)


class Rows(Message, frozen=True, kw_only=True, tag="rows"):
    """`gsc.results`: chunk number `chunk` of `chunks` with rows of one fetch of one page, by column.

    Every column has the same length. A page without rows is one chunk with empty columns.
    """

    batch: Batch
    fetch_id: Name
    """New for each fetch of a page; chunks of two fetches never belong together."""
    fetched_at: Moment
    chunk: Count
    chunks: Positive
    page_rows: Count
    """Rows of the page, over all its chunks."""
    next_start_row: Positive | None
    """The start row of the next page; None on the last page of the day."""
    keys: tuple[list[str], ...]
    """One list per dimension of `batch.dimensions` except `date`, in their order."""
    clicks: list[float]
    impressions: list[float]
    ctr: list[float]
    position: list[float | None] | None
    """None where the API returns no position (discover, googleNews)."""
    first_incomplete_date: date | None = None
    """From the answer's metadata: rows of this date and later may still change."""

    def __post_init__(self) -> None:
        _check_years(fetched_at=self.fetched_at)


class PageOutcome(Message, frozen=True, kw_only=True, tag="outcome"):
    """`gsc.results`: why a page has no rows, so that the ledger knows."""

    batch: Batch
    state: Literal["dead", "deferred"]
    """`dead`: the batch was dead-lettered. `deferred`: a scope of it is halted, and the page becomes pending again."""
    reason: Name
    """A reason of the table in docs/states.md, such as `permission` or `attempts_exhausted`."""
    detail: str
    at: Moment
    attempts: Count = 0


class Control(Message, frozen=True, kw_only=True, tag="control"):
    """`gsc.control`: the desired state of a scope; the newest record wins. Resuming is a value, not a tombstone."""

    scope: Name
    """`all`, `credential:ID`, `property:URL` or `run:ID`; also the key of the message."""
    state: Literal["running", "halted"]
    reason: str
    actor: Name
    at: Moment
    until: Moment | None = None
    """The end of a halt; it needs no other message."""
    cause: Cause = "operator"
    """Why the scope was halted. After the end of a `budget` halt one call probes whether the budget is back; until it
    has succeeded, the scope makes no other call."""


Result = Rows | PageOutcome
AnyMessage = SyncRequest | Batch | Rows | PageOutcome | Control
