"""Building and validating sync requests: the same checks for the command line, HTTP and the topic. Pure."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Annotated, Any, NamedTuple

import msgspec

from pipeline.catalog import Catalog
from pipeline.contracts.codec import parse_fields
from pipeline.contracts.identity import rolling_request_id
from pipeline.contracts.messages import Name, Priority, SyncRequest
from pipeline.contracts.reports import FINAL_AFTER_DAYS
from pipeline.contracts.text import did_you_mean
from pipeline.errors import Invalid
from pipeline.pacific import pacific_date
from producer.planner import HISTORY_DAYS, properties_of, reports_of


class Problem(NamedTuple):
    """An invalid field of a request."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class SyncBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/syncs`: from `start` to `end`, or the last `days` that have data.

    With `full`, also the rows of unchanged pages are sent and written. `days` means other dates tomorrow. To repeat a
    request later with the same id, use `start`, `end` and `rolling`. `history`: as many days as Google keeps, fetched
    below everything daily.
    """

    start: date | None = None
    end: date | None = None
    days: Annotated[int, msgspec.Meta(ge=1, le=HISTORY_DAYS)] | None = None
    history: bool = False
    rolling: bool = False
    full: bool = False
    properties: tuple[Name, ...] = ()
    all: bool = False
    reports: tuple[Name, ...] = ()
    request_id: Name | None = None
    priority: Priority | None = None


def build_request(fields: Mapping[str, Any] | bytes, *, now: datetime, today: date, requested_by: str) -> SyncRequest:
    """Return a request from JSON or from fields. Raises Invalid with the field's name. `today` is the Pacific date."""
    parsed = _expand_history(parse_fields(SyncBody, fields))
    rolling = parsed.rolling or parsed.days is not None
    start, end = _range(parsed, today)
    values: dict[str, Any] = {
        "request_id": parsed.request_id or (_rolling_id(parsed, today) if parsed.days else uuid.uuid4().hex),
        "properties": parsed.properties,
        "all_properties": parsed.all,
        "start": start,
        "end": end,
        "reports": parsed.reports,
        "priority": parsed.priority or ("daily" if rolling else "backfill"),
        "requested_at": now,
        "requested_by": requested_by,
        "rolling": rolling,
        "full": parsed.full,
    }
    try:
        return SyncRequest(**values)
    except ValueError as error:  # an implausible year
        field, _, reason = str(error).partition(": ")
        raise Invalid(reason, field=field) from error


def _expand_history(parsed: SyncBody) -> SyncBody:
    """Return the request with the days and the priority that its history means. Raises Invalid."""
    if not parsed.history:
        return parsed
    if parsed.days is not None or parsed.start or parsed.end:
        raise Invalid("give either `history`, or `days`, or `start` and `end`", field="history")
    return msgspec.structs.replace(parsed, days=HISTORY_DAYS, priority=parsed.priority or "backfill")


def _range(parsed: SyncBody, today: date) -> tuple[date, date]:
    if parsed.days is not None:
        if parsed.start or parsed.end:
            raise Invalid("give either `days`, or `start` and `end`", field="days")
        return today - timedelta(days=parsed.days), today
    if parsed.start is None or parsed.end is None:
        raise Invalid("give `days`, `history`, or `start` and `end`", field="start" if parsed.start is None else "end")
    return parsed.start, parsed.end


def _rolling_id(parsed: SyncBody, today: date) -> str:
    names = [f"property {url}" for url in parsed.properties] + [f"report {name}" for name in parsed.reports]
    if parsed.priority == "backfill":
        names.append("priority backfill")
    if parsed.full:
        names.append("full")
    return rolling_request_id(today, parsed.days or 0, names)


def same_request(one: SyncRequest, other: SyncRequest) -> bool:
    """Return whether two requests with one id are the same, whoever sent them, whenever, in whatever order of names."""

    def normalized(request: SyncRequest) -> SyncRequest:
        return msgspec.structs.replace(
            request,
            properties=tuple(sorted(request.properties)),
            reports=tuple(sorted(request.reports)),
            requested_at=one.requested_at,
            requested_by=one.requested_by,
        )

    return normalized(one) == normalized(other)


def id_conflict(planned: SyncRequest | None, request: SyncRequest) -> str | None:
    """Return why a request cannot have its id, or None. `planned` is the request that was planned with this id."""
    if planned is None or same_request(planned, request):
        return None
    return f"another request has used the id {request.request_id!r} before"


def unpublished_from(request: SyncRequest, catalog: Catalog) -> date | None:
    """Return the first requested day whose final data Google may not have published yet, or None."""
    states = {
        report.data_state for item in properties_of(request, catalog) for report in reports_of(request, catalog, item)
    }
    first = pacific_date(request.requested_at) - timedelta(days=FINAL_AFTER_DAYS - 1)
    if request.rolling or "final" not in states or request.end < first:
        return None
    return max(first, request.start)


def validate(request: SyncRequest, catalog: Catalog, today: date) -> list[Problem]:
    """Return every problem of a request. `today` is the Pacific date."""
    return [*_dates(request, today), *_properties(request, catalog), *_reports(request, catalog)]


def _dates(request: SyncRequest, today: date) -> list[Problem]:
    problems = []
    oldest = today - timedelta(days=HISTORY_DAYS)
    if request.end < request.start:
        problems.append(Problem("end", f"{request.end} is before start {request.start}"))
    if request.end > today:
        problems.append(Problem("end", f"{request.end} is in the future; today is {today} in Pacific time"))
    if request.start < oldest:
        problems.append(Problem("start", f"{request.start} is before {oldest}: Search Console keeps 16 months"))
    return problems


def _properties(request: SyncRequest, catalog: Catalog) -> list[Problem]:
    if request.all_properties and request.properties:
        return [Problem("properties", "give either `properties` or `all`, not both")]
    if not request.all_properties and not request.properties:
        return [Problem("properties", "none given; name some, or request `all`")]
    return [
        Problem("properties", f"unknown property {url!r}{_nearest(url, catalog.property_by_url)}")
        for url in request.properties
        if url not in catalog.property_by_url
    ]


def _nearest(name: str, known: Iterable[str]) -> str:
    return did_you_mean(name, known) or "; it is not in the catalog"


def _reports(request: SyncRequest, catalog: Catalog) -> list[Problem]:
    unknown = [name for name in request.reports if name not in catalog.report_by_name]
    problems = [
        Problem("reports", f"unknown report {name!r}{_nearest(name, catalog.report_by_name)}") for name in unknown
    ]
    for url in request.properties:
        item = catalog.property_by_url.get(url)
        kept = {report.name for report in catalog.reports_of(item)} if item else set(request.reports)
        missing = [name for name in request.reports if name not in kept and name not in unknown]
        problems += [Problem("reports", f"{name!r} is not a report of {url}") for name in missing]
    return problems
