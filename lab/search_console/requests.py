"""Query requests, validated as Google validates them. Pure."""

import json
from collections.abc import Collection
from datetime import date
from typing import Any

from msgspec import Struct

from lab.search_console.clock import HISTORY
from lab.search_console.enums import known_value
from lab.search_console.filters import Filter, parse_filters
from lab.search_console.refusals import bad_request, check_names
from lab.search_console.world import PAGE_LIMIT

_DIMENSIONS = ("date", "hour", "query", "page", "country", "device", "searchAppearance")
_TYPES = ("web", "image", "video", "news", "discover", "googleNews")
_DATA_STATES = ("final", "all", "hourly_all")
_AGGREGATIONS = ("auto", "byPage", "byProperty", "byNewsShowcasePanel")
_WITHOUT_PROPERTIES = ("discover", "googleNews")
_LACKING = {"discover": {"query", "device"}, "googleNews": {"query"}}
_FIELDS = {
    "startDate", "endDate", "dimensions", "type", "searchType", "dimensionFilterGroups", "aggregationType",
    "rowLimit", "startRow", "dataState",
}  # fmt: skip


class Query(Struct, frozen=True, kw_only=True):
    """A valid request."""

    start: date
    end: date
    dimensions: tuple[str, ...]
    search_type: str
    start_row: int
    row_limit: int
    data_state: str
    aggregation: str
    filters: tuple[Filter, ...] = ()

    @property
    def used_dimensions(self) -> set[str]:
        """The dimensions that the query groups or filters by."""
        return {*self.dimensions, *(item.dimension for item in self.filters)}

    @property
    def aggregated(self) -> str:
        """The aggregation type of the answer; `auto` is resolved."""
        if self.aggregation != "auto":
            return self.aggregation
        return "byPage" if "page" in self.used_dimensions or self.search_type in _WITHOUT_PROPERTIES else "byProperty"


def check_site(site: str) -> None:
    """Check the url of a property. Raises Refused, for example for a missing trailing slash."""
    domain = site.removeprefix("sc-domain:")
    whole = domain and "/" not in domain if domain != site else site.endswith("/")
    if not whole or not site.startswith(("sc-domain:", "http://", "https://")):
        raise bad_request(f"'{site}' is not a valid Search Console site URL.")


def parse_query(data: bytes, today: date, ignored_fields: Collection[str] = ()) -> Query:
    """Return the request. Raises Refused with the field's name, as Google does."""
    body = _body(data, ignored_fields)
    query = Query(
        start=_date(body, "startDate"),
        end=_date(body, "endDate"),
        dimensions=_dimensions(body.get("dimensions", [])),
        search_type=_text(body.get("type", body.get("searchType", "web")), "type", _TYPES),
        start_row=_number(body, "startRow", 0, 0, 10**9),
        row_limit=_number(body, "rowLimit", 1000, 1, PAGE_LIMIT),
        data_state=_text(body.get("dataState", "final"), "dataState", _DATA_STATES),
        aggregation=_text(body.get("aggregationType", "auto"), "aggregationType", _AGGREGATIONS),
        filters=parse_filters(body.get("dimensionFilterGroups", [])),
    )
    _check_combination(query)
    _check_aggregation(query)
    if query.end < query.start or query.end < today - HISTORY:
        raise bad_request(f"'{query.end}' is not a valid endDate: before startDate or out of the range of data.")
    return query


def _body(data: bytes, ignored_fields: Collection[str]) -> dict[str, Any]:
    """Return the fields that are set; null means absent."""
    try:
        body = json.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        raise bad_request("Invalid JSON payload received.") from error
    if not isinstance(body, dict):
        raise bad_request("Invalid JSON payload received.")
    check_names(body, {*_FIELDS, *ignored_fields})
    return {name: value for name, value in body.items() if value is not None}


def _date(body: dict[str, Any], name: str) -> date:
    text = body.get(name)
    try:
        found = date.fromisoformat(text or "")
    except (TypeError, ValueError) as error:
        raise bad_request(f"'{text}' is not a valid {name}.") from error
    if found.isoformat() != text:  # Python accepts other forms of ISO 8601, too
        raise bad_request(f"'{text}' is not a valid {name}.")
    return found


def _dimensions(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise bad_request(f"Invalid value at 'dimensions': {value!r}")
    return tuple(_text(name, "dimensions", _DIMENSIONS) for name in value)


def _text(value: object, name: str, known: tuple[str, ...]) -> str:
    found = known_value(value, known)
    if found is None:
        raise bad_request(f"Invalid value at '{name}': {value!r}")
    return found


def _number(body: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise bad_request(f"Invalid value at '{name}': {value!r}. It must be between {least} and {most}.")
    return value


def _check_combination(query: Query) -> None:
    dimensions = set(query.dimensions)
    if len(dimensions) < len(query.dimensions):
        raise bad_request("Invalid value at 'dimensions': repeated.")
    if "searchAppearance" in dimensions and len(dimensions) > 1:
        raise bad_request("Invalid value at 'dimensions': SEARCH_APPEARANCE cannot be grouped with others.")
    if query.used_dimensions & _LACKING.get(query.search_type, set()):
        name = {"discover": "DISCOVER", "googleNews": "GOOGLE_NEWS"}[query.search_type]
        raise bad_request(f"Invalid value at 'dimensions': not supported for type {name}.")
    if "hour" in dimensions and query.data_state != "hourly_all":
        raise bad_request("Invalid value at 'dimensions': HOUR needs dataState HOURLY_ALL.")


def _check_aggregation(query: Query) -> None:
    if query.aggregation == "byProperty":
        refused = "page" in query.used_dimensions or query.search_type in _WITHOUT_PROPERTIES
    elif query.aggregation == "byNewsShowcasePanel":
        panel = Filter("searchAppearance", "equals", "NEWS_SHOWCASE")
        refused = (
            "page" in query.used_dimensions
            or query.search_type not in _WITHOUT_PROPERTIES
            or panel not in query.filters
        )
    else:
        return
    if refused:
        raise bad_request(f"Invalid value at 'aggregationType': {query.aggregation} is not supported for this query.")
