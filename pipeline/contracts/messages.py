"""The messages between processes, version 1.

Compatibility: a field with a default may be added. Renaming a field, changing its type or its meaning requires a new
version. A reader ignores unknown fields and refuses unknown versions (see `codec`).

Times have an offset from UTC. Dates are in Search Console's time zone, Pacific time. Years outside `YEARS` are refused,
because calculations with them overflow in Python or in PostgreSQL.

Docstrings of classes are the descriptions in the JSON Schemas: `python -m pipeline.contracts` writes these.
"""

from datetime import date, datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

SearchType = Literal["web", "image", "video", "news", "discover", "googleNews"]
DataState = Literal["final", "all", "hourly_all"]
AggregationType = Literal["auto", "byPage", "byProperty", "byNewsShowcasePanel"]
FilterDimension = Literal["query", "page", "country", "device", "searchAppearance"]
FilterOperator = Literal["equals", "notEquals", "contains", "notContains", "includingRegex", "excludingRegex"]
Priority = Literal["daily", "backfill"]
PRIORITIES: tuple[Priority, ...] = ("daily", "backfill")
"""The most urgent first."""
Cause = Literal["operator", "budget", "permission", "credential", "dead_letters", "unreadable"]

Name = Annotated[str, Meta(min_length=1, max_length=2048, pattern=r"^[^\x00]*$")]
"""Text without NUL, which PostgreSQL cannot store."""
BatchId = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
Day = date
"""The type of a field that is itself named `date`: from Python 3.14 on, its name would hide the type."""
Moment = Annotated[datetime, Meta(tz=True)]
"""A time with an offset from UTC."""
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1, le=2**63 - 1)]
RowLimit = Annotated[int, Meta(ge=1, le=25_000)]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
"""Equal for two fetches of a page only if they have the same rows, in whatever order."""
MAX_BASE_PAGES = 10
"""Search Console lists at most two full pages of a day; a day of more pages than this is fetched without a base."""

YEARS = range(2000, 2200)
DEFAULT_PROJECT = "default"
"""The Google Cloud project of credentials whose entry in the catalog names none."""


def _check_years(**times: date | None) -> None:
    for name, time in times.items():
        if time is not None and time.year not in YEARS:
            raise ValueError(f"{name}: the year {time.year} is not from {YEARS.start} to {YEARS.stop - 1}")


class Message(Struct, frozen=True, kw_only=True, tag_field="type"):
    """The fields of every message: its type (the tag) and its version."""

    version: Literal[1] = field(default=1, name="v")


class SyncRequest(Message, frozen=True, kw_only=True, tag="sync"):
    """A message of `gsc.sync-requests`: fetch these days. A repeated `request_id` has no effect."""

    request_id: Name
    properties: tuple[Name, ...] = ()
    """Property URLs as in the catalog. Empty with `all_properties`."""
    all_properties: bool = False
    start: date
    end: date
    """The last day, inclusive, as in the API."""
    reports: tuple[Name, ...] = ()
    """Names of reports. Empty means all reports that the catalog has for each property."""
    priority: Priority = "backfill"
    requested_at: Moment
    requested_by: str = ""
    full: bool = False
    """Whether the rows of every page are sent and written, even when they are the stored ones."""
    rolling: bool = False
    """True for a window that ends with the newest day. Days for which a report has no data yet, on the Pacific date of
    `requested_at`, are left out."""

    def __post_init__(self) -> None:
        _check_years(start=self.start, end=self.end, requested_at=self.requested_at)


class Base(Struct, frozen=True, kw_only=True):
    """The complete generation that the table has of a day. Rows that it has already need not be sent again."""

    generation: Positive
    digests: Annotated[tuple[Digest, ...], Meta(max_length=MAX_BASE_PAGES)]
    """Of the pages of the day, in the order of their start rows."""


class Filter(Struct, frozen=True, kw_only=True):
    """A condition on a dimension, as the API has it."""

    dimension: FilterDimension
    operator: FilterOperator = "equals"
    expression: Annotated[str, Meta(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")]


class Selection(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which rows of a report Google lists, and how it adds them up. Without fields: every row, as Google chooses."""

    filters: tuple[Filter, ...] = ()
    """All of them must hold."""
    aggregation_type: AggregationType = "auto"
    row_limit: RowLimit | None = None
    """How many rows of a day are fetched, those with the most clicks. None: every row."""


ALL_ROWS = Selection()


class Batch(Message, frozen=True, kw_only=True, tag="batch"):
    """A message of `gsc.batches`: one page to fetch. It can be read without the catalog."""

    batch_id: BatchId
    """Derived from the page; see `identity.batch_id`."""
    run_id: Name
    generation: Positive
    """The version number of the run. Rows of a lower generation never replace rows of a higher one."""
    priority: Priority
    credential: Name
    property: Name
    report: Name
    search_type: SearchType
    dimensions: tuple[Name, ...]
    """As in the request to the API. Includes `date` if the report has it."""
    data_state: DataState
    date: Day
    start_row: Count
    row_limit: RowLimit
    selection: Selection = ALL_ROWS
    project: Name = DEFAULT_PROJECT
    """The Google Cloud project whose quota calls with the credential use, by the catalog of the publisher."""
    base: Base | None = None
    """What a fetch is compared with. None: its rows are sent in any case."""

    def __post_init__(self) -> None:
        _check_years(date=self.date)


class Rows(Message, frozen=True, kw_only=True, tag="rows"):
    """A message of `gsc.results`: chunk number `chunk` of the `chunks` that hold the rows of one fetch of one page.

    Rows are stored by column. All columns have the same length. A page without rows is one chunk with empty columns.
    """

    batch: Batch
    fetch_id: Name
    """Unique for each fetch of a page. Chunks of different fetches do not belong together."""
    fetched_at: Moment
    chunk: Count
    chunks: Positive
    page_rows: Count
    """The number of rows in all chunks of the page."""
    next_start_row: Positive | None
    """The first row of the next page, or None on the last page of the day."""
    keys: tuple[list[str], ...]
    """One list for each dimension of `batch.dimensions` except `date`, in their order."""
    clicks: list[float]
    impressions: list[float]
    ctr: list[float]
    position: list[float | None] | None
    """None for search types without a position (discover, googleNews)."""
    first_incomplete_date: date | None = None
    """Rows from this date on may still change: from the metadata of the response, or the date of the batch when it is
    recent and the page is empty. An empty day that may still change is not published yet, and stays incomplete."""
    digest: Digest | None = None
    """Of all rows of the page. Without it, later batches of the day have no base."""

    def __post_init__(self) -> None:
        _check_years(fetched_at=self.fetched_at)


class Unchanged(Message, frozen=True, kw_only=True, tag="unchanged"):
    """A message of `gsc.results` about a page whose rows have the digest that they have in the base of its batch.

    The rows are not sent. If the table has another generation meanwhile, the page is fetched again, without a base.
    """

    batch: Batch
    fetch_id: Name
    """Unique for each fetch of a page."""
    fetched_at: Moment
    base_generation: Positive
    digest: Digest
    page_rows: Count
    next_start_row: Positive | None
    """The first row of the next page, or None on the last page of the day."""
    first_incomplete_date: date | None = None
    """Rows from this date on may still change, as in `Rows`."""

    def __post_init__(self) -> None:
        _check_years(fetched_at=self.fetched_at)


class PageOutcome(Message, frozen=True, kw_only=True, tag="outcome"):
    """A message of `gsc.results` about a page without rows, so that the ledger records what became of it."""

    batch: Batch
    state: Literal["dead", "deferred"]
    """`dead`: the batch is in the dead-letter topic. `deferred`: its scope is halted, or its property has moved
    to another credential; the page becomes pending again."""
    reason: Name
    """A reason listed in docs/states.md, such as `permission` or `attempts_exhausted`."""
    detail: str
    at: Moment
    attempts: Count = 0


class Control(Message, frozen=True, kw_only=True, tag="control"):
    """A message of `gsc.control`: the desired state of a scope, which replaces the one before.

    To resume a scope, publish the state `running`, not a tombstone.
    """

    scope: Name
    """`all`, `project:ID`, `credential:ID`, `property:URL` or `run:ID`. It is also the key of the message."""
    state: Literal["running", "halted"]
    reason: str
    actor: Name
    at: Moment
    until: Moment | None = None
    """The end of a halt. From then on the scope is running, without another message."""
    cause: Cause = "operator"
    """The kind of reason for a halt. After the end of a `budget` halt, a single call tests whether Google accepts calls
    again. Until it succeeds, no other call of the scope starts."""

    def __post_init__(self) -> None:
        _check_years(at=self.at, until=self.until)


Result = Rows | Unchanged | PageOutcome
AnyMessage = SyncRequest | Batch | Rows | Unchanged | PageOutcome | Control
