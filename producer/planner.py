"""A request and the catalog into pages: the same request gives the same pages with the same ids. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import count

from pipeline.catalog import Catalog, Property, Report
from pipeline.contracts.identity import Page, batch_id
from pipeline.contracts.messages import SearchType, SyncRequest

ROW_LIMIT = 25_000
HISTORY_DAYS = 487
"""Search Console keeps 16 months."""
HOURLY_DAYS = 10
"""How far hourly data goes back."""
FINAL_AFTER_DAYS = 3
"""A day's data is final two to three days later."""


@dataclass(frozen=True)
class PlannedPage:
    """The first page of a day of a series; `round` counts the pages of its property."""

    batch_id: str
    property: str
    credential: str
    report: Report
    search_type: SearchType
    date: date
    round: int


def properties_of(request: SyncRequest, catalog: Catalog) -> list[Property]:
    """The properties that a request is about, in the catalog's order. The request was admitted."""
    return [item for item in catalog.properties if request.all_properties or item.url in request.properties]


def reports_of(request: SyncRequest, catalog: Catalog, item: Property) -> list[Report]:
    """The reports to fetch of a property: those asked for, or all that are kept."""
    return [report for report in catalog.reports_of(item) if not request.reports or report.name in request.reports]


def days_of(request: SyncRequest) -> list[date]:
    """The days, the newest first: they are wanted most."""
    length = (request.end - request.start).days + 1
    return [request.end - timedelta(days=number) for number in range(length)]


def has_data(report: Report, day: date, today: date, *, rolling: bool) -> bool:
    """Whether a day of a report is worth asking for: kept, within what the API goes back to, and, in a rolling
    window, old enough to be there."""
    age = (today - day).days
    oldest = min(report.retention or HISTORY_DAYS, HOURLY_DAYS if report.data_state == "hourly_all" else HISTORY_DAYS)
    youngest = FINAL_AFTER_DAYS if rolling and report.data_state == "final" else 0
    return youngest <= age <= oldest


def plan(request: SyncRequest, catalog: Catalog, generation: int, today: date) -> Iterator[PlannedPage]:
    """The first pages of everything that the request asks for; `today` is the Pacific date of the request."""
    for item in properties_of(request, catalog):
        rounds = count()
        for day in days_of(request):
            for report in reports_of(request, catalog, item):
                if not has_data(report, day, today, rolling=request.rolling):
                    continue
                for search_type in report.search_types:
                    page = Page(item.url, report.name, search_type, day, 0, generation)
                    yield PlannedPage(batch_id(page), item.url, item.credential, report, search_type, day, next(rounds))
