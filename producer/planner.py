"""A request and the catalog into pages: the same request gives the same pages with the same ids. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import count, groupby

from pipeline.catalog import Catalog, Property
from pipeline.contracts.identity import Page, batch_id
from pipeline.contracts.messages import SearchType, SyncRequest
from pipeline.contracts.records import PlanCursor, SeriesKey
from pipeline.contracts.reports import FINAL_AFTER_DAYS
from pipeline.report import Report

ROW_LIMIT = 25_000
HISTORY_DAYS = 487
"""Search Console keeps 16 months."""
HOURLY_DAYS = 10
"""Search Console keeps hourly data for ten days."""


@dataclass(frozen=True)
class PlannedPage:
    """The first page of a day of a series. `round` counts the pages of its property."""

    batch_id: str
    property: str
    credential: str
    report: Report
    search_type: SearchType
    date: date
    round: int

    def series(self) -> SeriesKey:
        """Return the series that the page belongs to."""
        return SeriesKey(
            self.property, self.report.name, self.search_type, self.report.dimensions, self.report.selection
        )


def properties_of(request: SyncRequest, catalog: Catalog) -> list[Property]:
    """Return the properties of a valid request, by URL: a change of the catalog changes the order of no others."""
    requested = [item for item in catalog.properties if request.all_properties or item.url in request.properties]
    return sorted(requested, key=lambda item: item.url)


def reports_of(request: SyncRequest, catalog: Catalog, item: Property) -> list[Report]:
    """Return the reports to fetch of a property: those of the request, or all that the catalog lists for it."""
    return [report for report in catalog.reports_of(item) if not request.reports or report.name in request.reports]


def days_of(request: SyncRequest, item: Property) -> Iterator[date]:
    """Yield the days of a request for a property, the newest first: they are needed most."""
    first = max(request.start, item.start or request.start)
    for age in range((request.end - first).days + 1):
        yield request.end - timedelta(days=age)


def has_data(report: Report, day: date, today: date, *, rolling: bool) -> bool:
    """Return whether a day of a report is worth fetching.

    It must be within the report's retention and the API's history, and in a rolling window old enough to have data.
    """
    age = (today - day).days
    oldest = min(report.retention or HISTORY_DAYS, HOURLY_DAYS if report.data_state == "hourly_all" else HISTORY_DAYS)
    youngest = FINAL_AFTER_DAYS if rolling and report.data_state == "final" else 0
    return youngest <= age <= oldest


def plan(
    request: SyncRequest, catalog: Catalog, generation: int, today: date, after: PlanCursor | None = None
) -> Iterator[PlannedPage]:
    """Yield the first page of every day of every series of the request, one day of a property after the other.

    `today` is the request's Pacific date. `after` is the last page of the part to leave out.
    """
    for item in properties_of(request, catalog):
        if after and item.url < after.property:
            continue
        done = after if after and item.url == after.property else None
        rounds = count(done.round + 1 if done else 0)
        for day in days_of(request, item):
            if done and day >= done.date:
                continue
            for report in reports_of(request, catalog, item):
                if not has_data(report, day, today, rolling=request.rolling):
                    continue
                for search_type in report.search_types:
                    page = Page(item.url, report.name, search_type, day, 0, generation)
                    yield PlannedPage(batch_id(page), item.url, item.credential, report, search_type, day, next(rounds))


def next_chunk(pages: Iterator[PlannedPage], size: int) -> list[PlannedPage]:
    """Return the first pages of a plan, at least `size` unless there are fewer, without a part of a day."""
    chunk: list[PlannedPage] = []
    for _, day in groupby(pages, key=lambda page: (page.property, page.date)):
        chunk += day
        if len(chunk) >= size:
            break
    return chunk
