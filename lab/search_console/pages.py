"""Pages of the world, rendered once and kept gzipped."""

import asyncio
import gzip
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import lru_cache

from lab.search_console.answers import rendered, visible_days
from lab.search_console.requests import Query
from lab.search_console.settings import SimulatorSettings, Site
from lab.search_console.world import Day, Row, merged, page_of, rows_of


class Pages:
    """What there is to read, with Google's corrections."""

    def __init__(self) -> None:
        self._revisions: dict[tuple[str, date], tuple[int, int, int, int]] = {}
        self._cache: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        self._cached_bytes = 0
        self._renderer = ThreadPoolExecutor(1)
        self._rows = lru_cache(maxsize=8)(rows_of)

    def close(self) -> None:
        """Let the renderer go."""
        self._renderer.shutdown(cancel_futures=True)

    async def gzipped(self, settings: SimulatorSettings, site: Site, query: Query, today: date) -> bytes:
        """The body of the answer to a query."""
        key = (site, query, self._revised(site, query), today, settings.seed, settings.missed_rows)
        if key not in self._cache:
            loop = asyncio.get_running_loop()
            page = await loop.run_in_executor(self._renderer, self._rendered, settings, site, query, today)
            self._remember(key, page, settings.cache_mb << 20)
        self._cache.move_to_end(key)
        return self._cache[key]

    def _revised(self, site: Site, query: Query) -> tuple[object, ...]:
        """The corrections of the days that are asked for."""
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
        return gzip.compress(rendered(query, page, today), 1)

    def rows(self, seed: int, site: Site, query: Query, today: date) -> list[Row]:
        """Everything that the API lists for a query, over all its pages."""
        days = [self._day(seed, site, query, day) for day in visible_days(query, today)]
        return days[0] if len(days) == 1 else merged(days)

    def _day(self, seed: int, site: Site, query: Query, day: date) -> list[Row]:
        revision = self._revisions.get((site.url, day), (0, 0, 0, 0))
        return self._rows(Day(seed, site, day, query.search_type, *revision), query.dimensions, query.filters)

    def revise(self, site: str, day: date, changed: int, added: int, vanished: int) -> None:
        """Correct a day: rows with other metrics, new rows, vanished rows."""
        revision = self._revisions.get((site, day), (0, 0, 0, 0))[0] + 1
        self._revisions[site, day] = (revision, changed, added, vanished)
