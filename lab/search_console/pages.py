"""Pages of the simulated data in Google's format, rendered once and cached gzipped."""

import asyncio
import gzip
import json
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

from lab.search_console.clock import FINAL_AFTER, HISTORY, HOURS_KEPT, hours_of
from lab.search_console.requests import Query
from lab.search_console.settings import SimulatorSettings, Site
from lab.search_console.world import Day, Row, merged, page_of, rows_of

_NO_POSITION = ("discover", "googleNews")


class Pages:
    """The pages, with Google's corrections."""

    def __init__(self) -> None:
        self._revisions: dict[tuple[str, date], tuple[int, int, int, int]] = {}
        self._cache: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        self._cached_bytes = 0
        self._renderer = ThreadPoolExecutor(1)
        self._rows = lru_cache(maxsize=8)(rows_of)

    def close(self) -> None:
        """Stop the rendering thread."""
        self._renderer.shutdown(cancel_futures=True)

    async def gzipped(self, settings: SimulatorSettings, site: Site, query: Query, today: date) -> bytes:
        """Return the gzipped body of the answer to a query."""
        key = (site, query, self._revised(site, query), today, settings.seed, settings.missed_rows)
        if key not in self._cache:
            loop = asyncio.get_running_loop()
            page = await loop.run_in_executor(self._renderer, self._rendered, settings, site, query, today)
            self._remember(key, page, settings.cache_mb << 20)
        self._cache.move_to_end(key)
        return self._cache[key]

    def _revised(self, site: Site, query: Query) -> tuple[object, ...]:
        """Return the corrections of the requested days."""
        days = ((day, how) for (url, day), how in self._revisions.items() if url == site.url)
        return tuple(sorted((day, how) for day, how in days if query.start <= day <= query.end))

    def _remember(self, key: tuple[object, ...], page: bytes, most: int) -> None:
        if key not in self._cache:
            self._cache[key] = page
            self._cached_bytes += len(page)
        while self._cached_bytes > most and len(self._cache) > 1:
            self._cached_bytes -= len(self._cache.popitem(last=False)[1])

    def _rendered(self, settings: SimulatorSettings, site: Site, query: Query, today: date) -> bytes:
        rows = self.rows(settings.seed, site, query, today)
        page = page_of(rows, query.start_row, query.row_limit, missed=settings.missed_rows)
        return gzip.compress(render_body(query, page, today), 1)

    def rows(self, seed: int, site: Site, query: Query, today: date) -> list[Row]:
        """Return every row that the API lists for a query, over all pages."""
        days = [self._day(seed, site, query, day) for day in visible_days(query, today)]
        return days[0] if len(days) == 1 else merged(days)

    def _day(self, seed: int, site: Site, query: Query, day: date) -> list[Row]:
        revision = self._revisions.get((site.url, day), (0, 0, 0, 0))
        return self._rows(Day(seed, site, day, query.search_type, *revision), query.dimensions, query.filters)

    def revise(self, site: str, day: date, changed: int, added: int, vanished: int) -> None:
        """Correct a day: change metrics of rows, add rows, remove rows."""
        revision = self._revisions.get((site, day), (0, 0, 0, 0))[0] + 1
        self._revisions[site, day] = (revision, changed, added, vanished)


def visible_days(query: Query, today: date) -> list[date]:
    """Return the days of a request that have visible data."""
    first = max(query.start, today - (HOURS_KEPT if query.data_state == "hourly_all" else HISTORY))
    last = min(query.end, today - FINAL_AFTER if query.data_state == "final" else today)
    return [date.fromordinal(number) for number in range(first.toordinal(), last.toordinal() + 1)]


def render_body(query: Query, rows: list[Row], today: date) -> bytes:
    """Return the answer's body. Text is escaped to ASCII, so that lone surrogates can be sent."""
    body: dict[str, Any] = {"responseAggregationType": query.aggregated}
    if rows:
        body["rows"] = [_row(row, query) for row in rows]
    if metadata := _metadata(query, today):
        body["metadata"] = metadata
    return json.dumps(body, separators=(",", ":")).encode()


def _metadata(query: Query, today: date) -> dict[str, str]:
    """Return the first incomplete date or hour. Google sends it only when the query groups by that dimension."""
    first = max(query.start, today - FINAL_AFTER + timedelta(days=1))
    if first > query.end:
        return {}
    if query.data_state == "all" and "date" in query.dimensions:
        return {"firstIncompleteDate": first.isoformat()}
    if query.data_state == "hourly_all" and "hour" in query.dimensions:
        return {"firstIncompleteHour": hours_of(first)[0]}
    return {}


def _row(row: Row, query: Query) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "keys": row.keys,
        "clicks": float(row.clicks),
        "impressions": float(row.impressions),
        "ctr": row.clicks / row.impressions,
    }
    if not query.dimensions:
        del entry["keys"]
    if query.search_type not in _NO_POSITION:
        entry["position"] = row.position
    return entry
