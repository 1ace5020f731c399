"""Requests checked and answers shaped like Google's. Pure."""

import json
from datetime import date
from typing import Any

from msgspec import Struct

from lab.search_console.clock import FINAL_AFTER, HISTORY
from lab.search_console.world import PAGE_LIMIT, Row

_DIMENSIONS = ("date", "hour", "query", "page", "country", "device", "searchAppearance")
_TYPES = ("web", "image", "video", "news", "discover", "googleNews")
_FIELDS = {
    "startDate", "endDate", "dimensions", "type", "searchType", "dimensionFilterGroups", "aggregationType",
    "rowLimit", "startRow", "dataState",
}  # fmt: skip
_NO_POSITION = ("discover", "googleNews")


class Refused(Exception):
    """An error answer."""

    def __init__(self, status: int, message: str, *, reason: str = "", domain: str = "global") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.reason = reason
        self.domain = domain
        self.retry_after: int | None = None

    def body(self) -> bytes:
        """As Google spells errors."""
        error: dict[str, Any] = {"code": self.status, "message": self.message}
        if self.reason:
            error["errors"] = [{"domain": self.domain, "reason": self.reason, "message": self.message}]
        return json.dumps({"error": error}).encode()


class Query(Struct, frozen=True, kw_only=True):
    """A request that passed the checks."""

    start: date
    end: date
    dimensions: tuple[str, ...]
    search_type: str
    start_row: int
    row_limit: int
    data_state: str


def bad_request(message: str) -> Refused:
    """A 400."""
    return Refused(400, message, reason="invalidParameter")


def parse_query(data: bytes, today: date) -> Query:
    """The request, or Refused with the field's name, as Google would."""
    try:
        body = json.loads(data or b"{}")
    except ValueError as error:
        raise bad_request("Invalid JSON payload received.") from error
    if not isinstance(body, dict):
        raise bad_request("Invalid JSON payload received.")
    if unknown := sorted(set(body) - _FIELDS):
        raise bad_request(f'Invalid JSON payload received. Unknown name "{unknown[0]}": Cannot find field.')
    query = Query(
        start=_date(body, "startDate"),
        end=_date(body, "endDate"),
        dimensions=tuple(_text(name, "dimensions", _DIMENSIONS) for name in body.get("dimensions") or ()),
        search_type=_text(body.get("type", body.get("searchType", "web")), "type", _TYPES),
        start_row=_number(body, "startRow", 0, 0, 10**9),
        row_limit=_number(body, "rowLimit", 1000, 1, PAGE_LIMIT),
        data_state=_text(body.get("dataState", "final"), "dataState", ("final", "all", "hourly_all")),
    )
    _check_combination(query)
    if query.end < query.start or query.end < today - HISTORY:
        raise bad_request(f"'{query.end}' is not a valid endDate: before startDate or out of the range of data.")
    return query


def _date(body: dict[str, Any], name: str) -> date:
    try:
        return date.fromisoformat(body.get(name, ""))
    except (TypeError, ValueError) as error:
        raise bad_request(f"'{body.get(name)}' is not a valid {name}.") from error


def _text(value: object, name: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise bad_request(f"Invalid value at '{name}': {value!r}")
    return str(value)


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
    if query.search_type == "discover" and dimensions & {"query", "device"}:
        raise bad_request("Invalid value at 'dimensions': not supported for type DISCOVER.")
    if query.search_type == "googleNews" and "query" in dimensions:
        raise bad_request("Invalid value at 'dimensions': not supported for type GOOGLE_NEWS.")
    if "hour" in dimensions and query.data_state != "hourly_all":
        raise bad_request("Invalid value at 'dimensions': HOUR needs dataState HOURLY_ALL.")


def visible_until(query: Query, today: date) -> date:
    """The last day of which this request sees rows."""
    return today - FINAL_AFTER if query.data_state == "final" else today


def rendered(query: Query, rows: list[Row], today: date) -> bytes:
    """The answer's body. Text stays pure ASCII through escapes, so lone surrogates can be sent."""
    body: dict[str, Any] = {"responseAggregationType": "byPage" if "page" in query.dimensions else "byProperty"}
    if rows:
        body["rows"] = [_row(row, query) for row in rows]
    if query.data_state != "final" and query.end > today - FINAL_AFTER:
        body["metadata"] = {"first_incomplete_date": max(query.start, today - FINAL_AFTER).isoformat()}
    return json.dumps(body, separators=(",", ":")).encode()


def _row(row: Row, query: Query) -> dict[str, Any]:
    told: dict[str, Any] = {
        "keys": row.keys,
        "clicks": float(row.clicks),
        "impressions": float(row.impressions),
        "ctr": row.clicks / row.impressions,
    }
    if not query.dimensions:
        del told["keys"]
    if query.search_type not in _NO_POSITION:
        told["position"] = row.position
    return told
