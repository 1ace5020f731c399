"""One call after the other: who asks, is it allowed, what is the answer. No HTTP here."""

import asyncio
import gzip
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import lru_cache

from msgspec import Struct

from lab.search_console import clock
from lab.search_console.answers import Query, Refused, parse_query, rendered, visible_until
from lab.search_console.faults import Faults, refusal_of
from lab.search_console.quotas import Enforcer
from lab.search_console.settings import Fault, SimulatorSettings, Site
from lab.search_console.tokens import Tokens
from lab.search_console.world import Day, Row, page_of, rows_of

_LOAD_OF_PAGE_AND_QUERY = 10


class Call(Struct, kw_only=True):
    """A line of the log. `arrived` and `finished` on the simulator's monotonic clock, `at` since 1970."""

    index: int
    arrived: float
    at: float
    user: str = ""
    site: str = ""
    day: date | None = None
    search_type: str = ""
    dimensions: tuple[str, ...] = ()
    start_row: int = 0
    status: int = 0
    finished: float | None = None
    in_batch: bool = False


class Request(Struct, frozen=True):
    """A query as it came in."""

    authorization: str
    site: str
    body: bytes
    in_batch: bool = False


class Answer(Struct, frozen=True):
    """What goes back; `fault` is one that the transport has to play."""

    status: int
    gzipped: bytes
    retry_after: int | None = None
    fault: Fault | None = None


class Engine:
    """The simulated service."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.tokens = Tokens(settings.users, settings.token_lifetime_s)
        self.faults = Faults(settings.faults)
        self.calls: list[Call] = []
        self._enforcer = Enforcer()
        self._sites = {site.url: site for site in settings.sites}
        self._revisions: dict[tuple[str, date], tuple[int, int, int, int]] = {}
        self._cache: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        self._cached_bytes = 0
        self._renderer = ThreadPoolExecutor(1)
        self._rows = lru_cache(maxsize=8)(rows_of)

    def close(self) -> None:
        """Let the renderer go."""
        self._renderer.shutdown(cancel_futures=True)

    @property
    def today(self) -> date:
        """The Pacific date, as this simulator has it."""
        return clock.today(self.settings.now)

    def sites_of(self, authorization: str) -> list[str]:
        """Urls of the properties that the bearer may read. Raises Refused."""
        user = self._user(authorization)
        return [site.url for site in self.settings.sites if user in site.users]

    async def answer(self, request: Request) -> Answer:
        """Answer one query, and log it."""
        call = Call(index=len(self.calls), arrived=clock.monotonic(), at=clock.wall(), in_batch=request.in_batch)
        self.calls.append(call)
        try:
            fault = self._admitted(request, call)
            await asyncio.sleep(self.settings.latency_s)
            answer = Answer(200, await self._page(request, call), fault=fault)
        except Refused as refused:
            answer = Answer(refused.status, gzip.compress(refused.body(), 1), refused.retry_after)
        call.status = answer.status
        call.finished = clock.monotonic()
        return answer

    def _admitted(self, request: Request, call: Call) -> Fault | None:
        """Check who asks, and what limits; a fault for the transport, if one is due. Raises Refused."""
        call.site = request.site
        call.user = self._user(request.authorization)
        query = parse_query(request.body, self.today)
        call.day, call.search_type = query.start, query.search_type
        call.dimensions, call.start_row = query.dimensions, query.start_row
        fault = self.faults.hit(call.site, call.user, call.day)
        if fault is not None and (refusal := refusal_of(fault.kind)):
            refusal.retry_after = fault.retry_after
            raise refusal
        site = self._sites.get(request.site)
        if site is None or call.user not in site.users:
            raise _forbidden(request.site)
        load = _LOAD_OF_PAGE_AND_QUERY if {"page", "query"} <= set(query.dimensions) else 1
        kind = self._enforcer.refusal(self.settings.quotas, site.url, call.user, load, call.arrived)
        if kind and (refusal := refusal_of(kind)):
            raise refusal
        return fault

    def _user(self, authorization: str) -> str:
        user = self.tokens.user_of(authorization, clock.wall())
        if user is None and not self.settings.require_auth:
            return self.settings.users[0].id
        if user is None:
            raise Refused(401, "Request had invalid authentication credentials.", reason="authError")
        return user

    async def _page(self, request: Request, call: Call) -> bytes:
        query = parse_query(request.body, self.today)
        key = (call.site, query, self._revised(call.site, query), self.today)
        if key not in self._cache:
            loop = asyncio.get_running_loop()
            page = await loop.run_in_executor(self._renderer, self._rendered, self._sites[call.site], query)
            self._remember(key, page)
        self._cache.move_to_end(key)
        return self._cache[key]

    def _revised(self, site: str, query: Query) -> tuple[object, ...]:
        """The corrections of the days that are asked for."""
        days = ((day, how) for (url, day), how in self._revisions.items() if url == site)
        return tuple(sorted((day, how) for day, how in days if query.start <= day <= query.end))

    def _remember(self, key: tuple[object, ...], page: bytes) -> None:
        if key not in self._cache:
            self._cache[key] = page
            self._cached_bytes += len(page)
        while self._cached_bytes > self.settings.cache_mb << 20 and len(self._cache) > 1:
            self._cached_bytes -= len(self._cache.popitem(last=False)[1])

    def _rendered(self, site: Site, query: Query) -> bytes:
        page = page_of(self.rows(site, query), query.start_row, query.row_limit)
        return gzip.compress(rendered(query, page, self.today), 1)

    def rows(self, site: Site, query: Query) -> list[Row]:
        """Everything that the API lists for a query, over all its pages. A range is its days, one after the other."""
        rows: list[Row] = []
        for ordinal in range(query.start.toordinal(), min(query.end, visible_until(query, self.today)).toordinal() + 1):
            day = date.fromordinal(ordinal)
            revision = self._revisions.get((site.url, day), (0, 0, 0, 0))
            rows += self._rows(Day(self.settings.seed, site, day, query.search_type, *revision), query.dimensions)
        return rows

    def truth(self, site: str, body: bytes) -> list[Row]:
        """All rows of a query. Raises Refused."""
        return self.rows(self._sites[site], parse_query(body, self.today))

    def revise(self, site: str, day: date, changed: int, added: int, vanished: int) -> None:
        """Correct a day: rows with other metrics, new rows, vanished rows."""
        revision = self._revisions.get((site, day), (0, 0, 0, 0))[0] + 1
        self._revisions[site, day] = (revision, changed, added, vanished)


def _forbidden(site: str) -> Refused:
    message = (
        f"User does not have sufficient permission for site '{site}'. See also: https://support.google.com/webmasters"
    )
    return Refused(403, message, reason="forbidden")
