"""Whether a request can be planned; one set of checks for the command line, HTTP and the topic. Pure."""

import uuid
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Annotated, Any, NamedTuple

import msgspec

from pipeline.catalog import Catalog
from pipeline.contracts.codec import parse_fields
from pipeline.contracts.identity import rolling_request_id
from pipeline.contracts.messages import Name, Priority, SyncRequest
from pipeline.errors import Invalid
from producer.planner import HISTORY_DAYS


class Problem(NamedTuple):
    """One thing that is wrong with a request."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class _Fields(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/syncs`: from `start` to `end`, or the last `days` as far as there is data.

    The last days are others tomorrow. Whoever may ask again later under the same id gives `start`, `end` and `rolling`.
    """

    start: date | None = None
    end: date | None = None
    days: Annotated[int, msgspec.Meta(ge=1, le=HISTORY_DAYS)] | None = None
    rolling: bool = False
    properties: tuple[Name, ...] = ()
    all: bool = False
    reports: tuple[Name, ...] = ()
    request_id: Name | None = None
    priority: Priority | None = None


def build_request(fields: Mapping[str, Any] | bytes, *, now: datetime, today: date, requested_by: str) -> SyncRequest:
    """A request from JSON or from fields; raises Invalid with the field's name. `today` is the Pacific date."""
    parsed = parse_fields(_Fields, fields)
    rolling = parsed.rolling or parsed.days is not None
    start, end = _range(parsed, today)
    return SyncRequest(
        request_id=parsed.request_id or (_rolling_id(parsed, today) if parsed.days else uuid.uuid4().hex),
        properties=parsed.properties,
        all_properties=parsed.all,
        start=start,
        end=end,
        reports=parsed.reports,
        priority=parsed.priority or ("daily" if rolling else "backfill"),
        requested_at=now,
        requested_by=requested_by,
        rolling=rolling,
    )


def _range(parsed: _Fields, today: date) -> tuple[date, date]:
    if parsed.days is not None:
        if parsed.start or parsed.end:
            raise Invalid("give the last days, or a start and an end, not both", field="days")
        return today - timedelta(days=parsed.days), today
    if parsed.start is None or parsed.end is None:
        raise Invalid("missing", field="start" if parsed.start is None else "end")
    return parsed.start, parsed.end


def _rolling_id(parsed: _Fields, today: date) -> str:
    names = [f"property {url}" for url in parsed.properties] + [f"report {name}" for name in parsed.reports]
    if parsed.priority == "backfill":
        names.append("priority backfill")
    return rolling_request_id(today, parsed.days or 0, names)


def same_request(one: SyncRequest, other: SyncRequest) -> bool:
    """Whether two requests under one id are one: whoever asked, whenever, and in whatever order the names are."""

    def without_asker(request: SyncRequest) -> SyncRequest:
        return msgspec.structs.replace(
            request,
            properties=tuple(sorted(request.properties)),
            reports=tuple(sorted(request.reports)),
            requested_at=one.requested_at,
            requested_by=one.requested_by,
        )

    return without_asker(one) == without_asker(other)


def validate(request: SyncRequest, catalog: Catalog, today: date) -> list[Problem]:
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
