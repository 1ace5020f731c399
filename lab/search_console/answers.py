"""Answers shaped like Google's. Pure."""

import json
from datetime import date
from typing import Any

from lab.search_console.clock import FINAL_AFTER, HISTORY, HOURS_KEPT
from lab.search_console.requests import Query
from lab.search_console.world import Row

_NO_POSITION = ("discover", "googleNews")


def visible_days(query: Query, today: date) -> list[date]:
    """The days of a request of which there is data to see."""
    first = max(query.start, today - (HOURS_KEPT if query.data_state == "hourly_all" else HISTORY))
    last = min(query.end, today - FINAL_AFTER if query.data_state == "final" else today)
    return [date.fromordinal(number) for number in range(first.toordinal(), last.toordinal() + 1)]


def rendered(query: Query, rows: list[Row], today: date) -> bytes:
    """The answer's body. Text stays pure ASCII through escapes, so lone surrogates can be sent."""
    body: dict[str, Any] = {"responseAggregationType": query.aggregated}
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
