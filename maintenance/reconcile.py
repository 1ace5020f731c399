"""Reconcile: compares plan, ledger and table, and finds days that are missing, stale, truncated or different."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Literal, NamedTuple, TypeVar

from pipeline.pacific import pacific_date
from pipeline.postgres import Connection, database_errors, queries
from pipeline.publisher import KeyedPublisher, publish_request
from producer.sync_request import build_request

T = TypeVar("T")
Kind = Literal["dead", "late", "unplanned", "unpublished", "stale", "rows", "kept", "truncated", "totals"]
KINDS: Mapping[Kind, str] = {
    "dead": "a page of the day is dead-lettered",
    "late": "a page of the day has been pending or published for more than a day",
    "unplanned": "the day was never requested, while days before and after it were",
    "unpublished": "Google had not published the day when it was fetched, and it was not fetched again",
    "stale": "Google called the day incomplete when it was fetched, and it was not fetched again",
    "rows": "the table and the ledger have different numbers of rows",
    "kept": "rows that Google no longer lists were kept, because they are implausibly many",
    "truncated": "the day is at Google's cap: the remaining rows are not available",
    "totals": "clicks or impressions differ from the API's own totals of the day",
}
REPAIRABLE: frozenset[Kind] = frozenset({"dead", "late", "unplanned", "unpublished", "stale", "rows", "totals"})
LATE_AFTER = timedelta(days=1)
STALE_AFTER = timedelta(days=4)
"""Data is final two to three days after the day ends."""
REPEATED_AT_BORDERS = 0.01
"""Largest share of a day's rows that the API lists on two of its pages."""

_SQL = queries("maintenance", "reconcile.sql")


class Day(NamedTuple):
    """A day of a series, in the ledger and in the table: the columns of the query `days`."""

    property: str
    report: str
    search_type: str
    date: date
    generation: int | None
    pages: int | None
    dead: int
    pending: int
    pending_since: datetime | None
    empty: bool
    """Whether the newest generation is applied and has no rows."""
    complete_generation: int | None
    completed_at: datetime | None
    ledger_rows: int
    truncated: bool
    may_change: bool
    vanished_kept: int
    rows: int
    clicks: float
    impressions: float


class Finding(NamedTuple):
    """Something that is wrong with a day."""

    kind: Kind
    property: str
    report: str
    search_type: str
    date: date
    detail: str


class RefetchRequest(NamedTuple):
    """Days to request again."""

    property: str
    report: str
    start: date
    end: date


async def read_days(conn: Connection, start: date, end: date) -> list[Day]:
    """Return every day of the period that the ledger has, and every day between those. Raises Retryable."""
    async with database_errors():
        rows = await (await conn.execute(_SQL["days"], {"start": start, "end": end})).fetchall()
    return [Day(*row) for row in rows]


def findings_of(day: Day, now: datetime) -> list[Finding]:
    """Return everything that is wrong with a day. Pure."""
    return [
        Finding(kind, day.property, day.report, day.search_type, day.date, detail)
        for kind, detail in (*_pages(day, now), *_rows(day), *_freshness(day))
    ]


def _pages(day: Day, now: datetime) -> Iterable[tuple[Kind, str]]:
    if day.generation is None:
        yield "unplanned", "no page was ever planned"
    if day.dead:
        yield "dead", f"{day.dead} of {day.pages} pages"
    if day.pending_since is not None and now - day.pending_since > LATE_AFTER:
        yield "late", f"{day.pending} of {day.pages} pages, since {day.pending_since.isoformat(timespec='seconds')}"


def _rows(day: Day) -> Iterable[tuple[Kind, str]]:
    if day.vanished_kept:
        yield "kept", f"{day.vanished_kept} rows"
    if day.complete_generation is None or day.complete_generation != day.generation:
        return  # a day that is being fetched may differ
    fewest = day.ledger_rows if day.pages == 1 else int(day.ledger_rows * (1 - REPEATED_AT_BORDERS))
    if not fewest <= day.rows - day.vanished_kept <= day.ledger_rows:
        yield "rows", f"{day.rows} in the table, {day.ledger_rows} in the ledger"


def _freshness(day: Day) -> Iterable[tuple[Kind, str]]:
    if day.empty and day.complete_generation != day.generation:
        yield "unpublished", "no rows yet"
    if day.truncated:
        yield "truncated", f"{day.ledger_rows} rows"
    if day.may_change and day.completed_at is not None:
        final = datetime.combine(day.date, datetime.min.time(), day.completed_at.tzinfo) + STALE_AFTER
        if day.completed_at < final:
            yield "stale", f"fetched {day.completed_at.isoformat(timespec='seconds')}"


def differing_totals(
    days: Iterable[Day], totals: Mapping[date, tuple[float, float]], tolerance: float
) -> Iterable[Finding]:
    """Yield complete days whose sums differ from the API's by more than the share `tolerance`. Pure."""
    for day in days:
        clicks, impressions = totals.get(day.date, (0.0, 0.0))
        if day.complete_generation is None or day.may_change:
            continue
        if not (_are_close(day.clicks, clicks, tolerance) and _are_close(day.impressions, impressions, tolerance)):
            detail = (
                f"clicks {day.clicks:g} in the table, {clicks:g} from the API;"
                f" impressions {day.impressions:g} and {impressions:g}"
            )
            yield Finding("totals", day.property, day.report, day.search_type, day.date, detail)


def _are_close(ours: float, theirs: float, tolerance: float) -> bool:
    return abs(ours - theirs) <= tolerance * max(abs(ours), abs(theirs))


class FindingRange(NamedTuple):
    """Consecutive days of a series with the same kind of finding. `detail` is that of the first day."""

    kind: Kind
    property: str
    report: str
    search_type: str
    start: date
    end: date
    detail: str


def finding_ranges(findings: Iterable[Finding]) -> list[FindingRange]:
    """Return the findings with consecutive days joined. Pure."""
    ordered = sorted(findings, key=lambda item: (*item[:4], item.date))
    return [
        FindingRange(*days[0][:4], days[0].date, days[-1].date, days[0].detail)
        for days in _consecutive(ordered, lambda item: item[:4], lambda item: item.date)
    ]


def refetch_requests(findings: Iterable[Finding]) -> list[RefetchRequest]:
    """Return the requests that repair the findings; consecutive days are one request. Pure."""
    days = sorted({(f.property, f.report, f.date) for f in findings if f.kind in REPAIRABLE})
    return [
        RefetchRequest(*run[0][:2], run[0][2], run[-1][2])
        for run in _consecutive(days, lambda item: item[:2], lambda item: item[2])
    ]


async def publish_requests(
    publisher: KeyedPublisher, prefix: str, requests: Iterable[RefetchRequest], now: datetime
) -> None:
    """Publish a sync request for each of these. Raises Retryable."""
    for item in requests:
        fields = {
            "properties": [item.property],
            "reports": [item.report],
            "start": item.start.isoformat(),
            "end": item.end.isoformat(),
            "full": True,  # what is wrong may be the stored rows
        }
        request = build_request(fields, now=now, today=pacific_date(now), requested_by="reconcile")
        await publish_request(publisher, prefix, request)


def _consecutive(items: Iterable[T], group_of: Callable[[T], Hashable], day_of: Callable[[T], date]) -> list[list[T]]:
    """Return the items, which are sorted by group and day, in lists of one group and consecutive days."""
    numbered = groupby(enumerate(items), key=lambda pair: (group_of(pair[1]), day_of(pair[1]).toordinal() - pair[0]))
    return [[item for _, item in run] for _, run in numbered]
