"""Whether a request can be planned; one set of checks for the command line, HTTP and the topic. Pure."""

import uuid
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from pipeline.catalog import Catalog
from pipeline.contracts.messages import Name, Priority, SyncRequest
from pipeline.errors import Invalid

HISTORY_DAYS = 487
"""Search Console keeps 16 months."""


class Problem(NamedTuple):
    """One thing that is wrong with a request."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class _Fields(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/syncs`."""

    start: date
    end: date
    properties: tuple[Name, ...] = ()
    all: bool = False
    reports: tuple[Name, ...] = ()
    request_id: Name | None = None
    priority: Priority = "backfill"


def build_request(fields: Mapping[str, Any] | bytes, *, now: datetime, requested_by: str) -> SyncRequest:
    """A request from JSON or from fields; raises Invalid with the field's name."""
    try:
        parsed = (
            msgspec.json.decode(fields, type=_Fields) if isinstance(fields, bytes) else msgspec.convert(fields, _Fields)
        )
    except msgspec.DecodeError as error:
        text, _, place = str(error).partition(" - at `$.")
        raise Invalid(text, field=place.rstrip("`") or "body") from error
    return SyncRequest(
        request_id=parsed.request_id or uuid.uuid4().hex,
        properties=parsed.properties,
        all_properties=parsed.all,
        start=parsed.start,
        end=parsed.end,
        reports=parsed.reports,
        priority=parsed.priority,
        requested_at=now,
        requested_by=requested_by,
    )


def problems_of(request: SyncRequest, catalog: Catalog, today: date) -> list[Problem]:
    """Everything that is wrong with a request; `today` is the Pacific date."""
    return [*_dates(request, today), *_properties(request, catalog), *_reports(request, catalog)]


def _dates(request: SyncRequest, today: date) -> list[Problem]:
    problems = []
    oldest = today - timedelta(days=HISTORY_DAYS)
    if request.end < request.start:
        problems.append(Problem("end", f"{request.end} is before start {request.start}"))
    if request.end > today:
        problems.append(Problem("end", f"{request.end} is in the future; it is {today} in California"))
    if request.start < oldest:
        problems.append(Problem("start", f"{request.start} is before {oldest}: Search Console keeps 16 months"))
    return problems


def _properties(request: SyncRequest, catalog: Catalog) -> list[Problem]:
    if request.all_properties and request.properties:
        return [Problem("properties", "name properties or ask for all, not both")]
    if not request.all_properties and not request.properties:
        return [Problem("properties", "none given; name some, or ask for all")]
    return [
        Problem("properties", f"unknown property {url!r}; it is not in the catalog")
        for url in request.properties
        if url not in catalog.property_by_url
    ]


def _reports(request: SyncRequest, catalog: Catalog) -> list[Problem]:
    unknown = [name for name in request.reports if name not in catalog.report_by_name]
    problems = [Problem("reports", f"unknown report {name!r}; it is not in the catalog") for name in unknown]
    for url in request.properties:
        item = catalog.property_by_url.get(url)
        kept = {report.name for report in catalog.reports_of(item)} if item else set(request.reports)
        missing = [name for name in request.reports if name not in kept and name not in unknown]
        problems += [Problem("reports", f"{name!r} is not kept of {url}") for name in missing]
    return problems


class Gate:
    """Publishing stops at the high mark and goes on at half of it."""

    def __init__(self, high: int) -> None:
        self._high = high
        self.open = True

    def room(self, lag: int) -> int:
        """How many batches may be published now."""
        self.open = lag < self._high if self.open else lag <= self._high // 2
        return self._high - lag if self.open else 0
