"""The simulated service without HTTP: who calls, whether the call is allowed, and the answer."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

from msgspec import Struct, structs

from lab.search_console import clock
from lab.search_console.call_journal import Call, Journal
from lab.search_console.faults import Answer, Faults, answer_of, refusal_of, with_fault
from lab.search_console.keys import Keys
from lab.search_console.listings import get_sitemap, list_sitemaps, list_sites, may_query
from lab.search_console.pages import Pages
from lab.search_console.quotas import Attempt, Enforcer
from lab.search_console.refusals import Refused, bad_request, forbidden, of_oauth
from lab.search_console.requests import Query, check_site, parse_query
from lab.search_console.settings import Fault, SimulatorSettings, Site
from lab.search_console.tokens import Tokens
from lab.search_console.world import Row

_LOAD_OF_PAGE_AND_QUERY = 10


class Request(Struct, frozen=True):
    """A call for a property as it was received."""

    authorization: str
    site: str
    body: bytes = b""
    in_batch: bool = False


class Engine:
    """The simulated service."""

    def __init__(self, settings: SimulatorSettings, keys: Keys | None = None) -> None:
        self.settings = settings
        self.tokens = Tokens(
            settings.users, settings.token_lifetime_s, keys or Keys(), promise_s=settings.token_promise_s
        )
        self.faults = Faults(settings.faults)
        self.journal = Journal()
        self.pages = Pages()
        self._enforcer = Enforcer()

    def close(self) -> None:
        """Stop the rendering thread."""
        self.pages.close()

    @property
    def calls(self) -> list[Call]:
        """All queries in order of arrival."""
        return self.journal.of("query")

    @property
    def today(self) -> date:
        """The simulator's current Pacific date."""
        return clock.today(self.settings.now)

    async def query(self, request: Request) -> Answer:
        """Answer one query."""
        call = self.journal.add("query", in_batch=request.in_batch)
        return await self._run(call, lambda call: self._query_answer(request, call))

    async def sites(self, authorization: str, *, in_batch: bool = False) -> Answer:
        """List the properties that the bearer may read."""
        call = self.journal.add("sites", in_batch=in_batch)
        return await self._run(call, lambda call: self._sites_answer(authorization, call))

    async def sitemaps(self, request: Request, path: str | None = None) -> Answer:
        """List the sitemaps of a property, or answer with the one at `path`."""
        call = self.journal.add("sitemaps", in_batch=request.in_batch)
        return await self._run(call, lambda call: self._sitemaps_answer(request, path, call))

    async def token(self, user: str, grant: Callable[[float], dict[str, Any]], *, oauth: bool = True) -> Answer:
        """Answer a token request: call `grant` with the current time. `oauth`: whether errors have OAuth's format."""
        as_error = of_oauth if oauth else None
        call = self.journal.add("token")
        call.user = user
        return await self._run(call, lambda call: self._token_answer(grant, call), as_error)

    async def _run(
        self,
        call: Call,
        answer: Callable[[Call], Awaitable[Answer]],
        as_error: Callable[[Refused], Refused] | None = None,
    ) -> Answer:
        try:
            result = await answer(call)
        except Refused as refused:
            result = answer_of(as_error(refused) if as_error else refused)
        call.status = result.status
        call.finished = clock.monotonic()
        return result

    async def _query_answer(self, request: Request, call: Call) -> Answer:
        query, site, fault = self._admit(request, call)
        await asyncio.sleep(self.settings.latency_s)
        page = await self.pages.gzipped(self.settings, site, query, self.today)
        return await self._apply_fault(Answer(200, page), fault, call)

    async def _sites_answer(self, authorization: str, call: Call) -> Answer:
        call.user = self._user(authorization)
        fault = self.faults.hit(call)
        return await self._apply_fault(_json_answer(list_sites(self.settings.sites, call.user)), fault, call)

    async def _sitemaps_answer(self, request: Request, path: str | None, call: Call) -> Answer:
        call.site, call.user = request.site, self._user(request.authorization)
        fault = self.faults.hit(call)
        site = self._readable(request.site, call.user)
        body = list_sitemaps(site) if path is None else get_sitemap(site, path)
        return await self._apply_fault(_json_answer(body), fault, call)

    async def _token_answer(self, grant: Callable[[float], dict[str, Any]], call: Call) -> Answer:
        fault = self.faults.hit(call)
        return await self._apply_fault(_json_answer(grant(clock.wall())), fault, call)

    async def _apply_fault(self, answer: Answer, fault: Fault | None, call: Call) -> Answer:
        if fault is None:
            return answer
        call.fault = fault.kind
        if fault.kind == "stall":
            await asyncio.sleep(fault.seconds)
        return with_fault(answer, fault, call.kind)

    def _admit(self, request: Request, call: Call) -> tuple[Query, Site, Fault | None]:
        """Check the caller, the request and the quotas. Raises Refused."""
        call.site = request.site
        call.user = self._user(request.authorization)
        query = parse_query(request.body, self.today, self.settings.ignored_fields)
        call.day, call.search_type = query.start, query.search_type
        call.dimensions, call.start_row = query.dimensions, query.start_row
        fault = self.faults.hit(call)
        site = self._readable(request.site, call.user)
        load = _LOAD_OF_PAGE_AND_QUERY if {"page", "query"} <= set(query.dimensions) else 1
        attempt = Attempt(site.url, call.user, load, self.today)
        kind = self._enforcer.refusal(self.settings.quotas, attempt, call.arrived)
        if kind and (refusal := refusal_of(kind)):
            raise refusal
        return query, site, fault

    def _readable(self, url: str, user: str) -> Site:
        """Return a property that the user may read. Raises Refused."""
        check_site(url)
        site = self._site(url)
        if site is None or not may_query(site, user):
            raise forbidden(url)
        return site

    def _user(self, authorization: str) -> str:
        user = self.tokens.user_of(authorization, clock.wall())
        if user is None and not self.settings.require_auth:
            return self.settings.users[0].id
        if user is None:
            raise Refused(401, "Request had invalid authentication credentials.", reason="authError")
        return user

    def _site(self, url: str) -> Site | None:
        return next((site for site in self.settings.sites if site.url == url), None)

    def truth(self, url: str, body: bytes) -> list[Row]:
        """Return all rows of a query. Raises Refused."""
        site = self._site(url)
        if site is None:
            raise forbidden(url)
        return self.pages.rows(self.settings.seed, site, parse_query(body, self.today), self.today)

    async def render(self, url: str, body: bytes) -> int:
        """Render every page of a query into the cache; return the number of rows. Raises Refused."""
        site = self._site(url)
        if site is None:
            raise forbidden(url)
        query, rows = parse_query(body, self.today), len(await asyncio.to_thread(self.truth, url, body))
        for start in range(0, rows + 1, query.row_limit):
            page = structs.replace(query, start_row=start)
            await self.pages.gzipped(self.settings, site, page, self.today)
        return rows

    def change(self, settings: SimulatorSettings) -> None:
        """Replace the settings. Users and initial faults cannot change. Raises Refused."""
        if settings.users != self.settings.users or settings.faults != self.settings.faults:
            raise bad_request("users cannot be changed; change faults with /_sim/faults")
        self.settings = settings
        self.tokens.lifetime_s = settings.token_lifetime_s
        self.tokens.promise_s = settings.token_promise_s


def _json_answer(body: dict[str, Any]) -> Answer:
    return Answer(200, gzip.compress(json.dumps(body).encode(), 1))
