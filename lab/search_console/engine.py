"""One call after the other: who asks, is it allowed, what is the answer. No HTTP here."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

from msgspec import Struct

from lab.search_console import clock
from lab.search_console.call_journal import Call, Journal
from lab.search_console.faults import Answer, Faults, answer_of, refusal_of, spoiled
from lab.search_console.keys import Keys
from lab.search_console.pages import Pages
from lab.search_console.quotas import Asking, Enforcer
from lab.search_console.refusals import Refused, bad_request, forbidden, of_oauth
from lab.search_console.requests import Query, check_site, parse_query
from lab.search_console.settings import Fault, SimulatorSettings, Site
from lab.search_console.tokens import Tokens
from lab.search_console.world import Row

_LOAD_OF_PAGE_AND_QUERY = 10


class Request(Struct, frozen=True):
    """A query as it came in."""

    authorization: str
    site: str
    body: bytes
    in_batch: bool = False


class Engine:
    """The simulated service."""

    def __init__(self, settings: SimulatorSettings, keys: Keys | None = None) -> None:
        self.settings = settings
        self.tokens = Tokens(settings.users, settings.token_lifetime_s, keys or Keys())
        self.faults = Faults(settings.faults)
        self.journal = Journal()
        self.pages = Pages()
        self._enforcer = Enforcer()

    def close(self) -> None:
        """Let the renderer go."""
        self.pages.close()

    @property
    def calls(self) -> list[Call]:
        """The queries, in the order of their arrival."""
        return self.journal.of("query")

    @property
    def today(self) -> date:
        """The Pacific date, as this simulator has it."""
        return clock.today(self.settings.now)

    async def query(self, request: Request) -> Answer:
        """Answer one query."""
        call = self.journal.opened("query", in_batch=request.in_batch)
        return await self._answered(call, lambda call: self._queried(request, call))

    async def sites(self, authorization: str, *, in_batch: bool = False) -> Answer:
        """Tell the properties that the bearer may read."""
        call = self.journal.opened("sites", in_batch=in_batch)
        return await self._answered(call, lambda call: self._listed(authorization, call))

    async def token(self, user: str, grant: Callable[[float], dict[str, Any]], *, oauth: bool = True) -> Answer:
        """What a token endpoint says: `grant` at the present time. Errors are spelled as of OAuth, or as the API's."""
        spelled = of_oauth if oauth else None
        call = self.journal.opened("token")
        call.user = user
        return await self._answered(call, lambda call: self._granted(grant, call), spelled)

    async def _answered(
        self,
        call: Call,
        answer: Callable[[Call], Awaitable[Answer]],
        spelled: Callable[[Refused], Refused] | None = None,
    ) -> Answer:
        try:
            given = await answer(call)
        except Refused as refused:
            given = answer_of(spelled(refused) if spelled else refused)
        call.status = given.status
        call.finished = clock.monotonic()
        return given

    async def _queried(self, request: Request, call: Call) -> Answer:
        query, site, fault = self._admitted(request, call)
        await asyncio.sleep(self.settings.latency_s)
        page = await self.pages.gzipped(self.settings, site, query, self.today)
        return await self._played(Answer(200, page), fault, call)

    async def _listed(self, authorization: str, call: Call) -> Answer:
        call.user = self._user(authorization)
        fault = self.faults.hit(call)
        urls = [site.url for site in self.settings.sites if call.user in site.users]
        entries = [{"siteUrl": url, "permissionLevel": "siteFullUser"} for url in urls]
        return await self._played(_of_json({"siteEntry": entries} if entries else {}), fault, call)

    async def _granted(self, grant: Callable[[float], dict[str, Any]], call: Call) -> Answer:
        fault = self.faults.hit(call)
        return await self._played(_of_json(grant(clock.wall())), fault, call)

    async def _played(self, answer: Answer, fault: Fault | None, call: Call) -> Answer:
        if fault is None:
            return answer
        call.fault = fault.kind
        if fault.kind == "stall":
            await asyncio.sleep(fault.seconds)
        return spoiled(answer, fault.kind, call.kind)

    def _admitted(self, request: Request, call: Call) -> tuple[Query, Site, Fault | None]:
        """Check who asks, and what limits. Raises Refused."""
        call.site = request.site
        call.user = self._user(request.authorization)
        query = parse_query(request.body, self.today)
        call.day, call.search_type = query.start, query.search_type
        call.dimensions, call.start_row = query.dimensions, query.start_row
        fault = self.faults.hit(call)
        check_site(request.site)
        site = self._site(request.site)
        if site is None or call.user not in site.users:
            raise forbidden(request.site)
        load = _LOAD_OF_PAGE_AND_QUERY if {"page", "query"} <= set(query.dimensions) else 1
        asking = Asking(site.url, call.user, load, self.today)
        kind = self._enforcer.refusal(self.settings.quotas, asking, call.arrived)
        if kind and (refusal := refusal_of(kind)):
            raise refusal
        return query, site, fault

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
        """All rows of a query. Raises Refused."""
        site = self._site(url)
        if site is None:
            raise forbidden(url)
        return self.pages.rows(self.settings.seed, site, parse_query(body, self.today), self.today)

    def change(self, settings: SimulatorSettings) -> None:
        """Go on by other settings. Users, and the faults they began with, stay. Raises Refused."""
        if settings.users != self.settings.users or settings.faults != self.settings.faults:
            raise bad_request("users cannot be changed, and faults at /_sim/faults only")
        self.settings = settings
        self.tokens.lifetime_s = settings.token_lifetime_s


def _of_json(body: dict[str, Any]) -> Answer:
    return Answer(200, gzip.compress(json.dumps(body).encode(), 1))
