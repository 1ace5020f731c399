"""The planner over HTTP: `POST /v1/syncs`, `GET /v1/runs/{run_id}`, `POST /v1/halts`, `GET /v1/halts`."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec
from aiohttp import web

from pipeline.catalog import Catalog
from pipeline.clock import now, pacific_date
from pipeline.contracts.halts import Halts, build_control
from pipeline.contracts.identity import run_id
from pipeline.contracts.messages import Control, SyncRequest
from pipeline.errors import Invalid, Retryable
from pipeline.health import problem, unauthorized
from pipeline.settings import HttpSettings
from producer.sync_request import build_request, same_request, validate

Handler = Callable[[web.Request], Awaitable[web.Response]]


class Doors(Protocol):
    """What the requests lead to. All raise Retryable."""

    @property
    def halts(self) -> Halts:
        """As they stand."""

    async def accept(self, request: SyncRequest) -> None:
        """Take a sync request in."""

    async def asked_before(self, request_id: str) -> SyncRequest | None:
        """The request that was planned under an id."""

    async def progress(self, run: str) -> dict[str, object] | None:
        """How far a run is; None when there is none."""

    async def announce(self, control: Control) -> None:
        """Write a control record."""


def routes(settings: HttpSettings, catalog: Catalog, doors: Doors) -> list[web.RouteDef]:
    """The routes; every one needs the bearer token."""
    api = _Api(catalog, doors)
    return [
        web.post("/v1/syncs", _guarded(settings, api.post_sync)),
        web.get("/v1/runs/{run_id}", _guarded(settings, api.get_run)),
        web.post("/v1/halts", _guarded(settings, api.post_halt)),
        web.get("/v1/halts", _guarded(settings, api.get_halts)),
    ]


def _guarded(settings: HttpSettings, handler: Handler) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        if refusal := unauthorized(request, settings):
            return refusal
        try:
            return await handler(request)
        except Invalid as error:
            return problem(400, error.reason, error.field)
        except Retryable as error:
            return problem(503, str(error))

    return handle


class _Api:
    def __init__(self, catalog: Catalog, doors: Doors) -> None:
        self._catalog = catalog
        self._doors = doors

    async def post_sync(self, request: web.Request) -> web.Response:
        wanted = build_request(await request.read(), now=now(), today=pacific_date(now()), requested_by="http")
        if problems := validate(wanted, self._catalog, pacific_date(now())):
            errors = [{"field": item.field, "message": item.message} for item in problems]
            return web.json_response({"error": errors[0], "errors": errors}, status=422)
        before = await self._asked_before(wanted.request_id)
        if before is not None and not same_request(before, wanted):
            return problem(409, f"{wanted.request_id!r} was given to another request before", "request_id")
        await self._doors.accept(wanted)
        body = {"request_id": wanted.request_id, "run_id": run_id(wanted.request_id)}
        return web.json_response(body, status=202)

    async def _asked_before(self, request_id: str) -> SyncRequest | None:
        try:
            return await self._doors.asked_before(request_id)
        except Retryable:  # Kafka keeps the request until the ledger can be read: then it is refused, if it must be
            return None

    async def get_run(self, request: web.Request) -> web.Response:
        found = await self._doors.progress(request.match_info["run_id"])
        return web.json_response(found) if found else problem(404, "no such run", "run_id")

    async def post_halt(self, request: web.Request) -> web.Response:
        """Halt a scope, or with `"state": "running"` let it run again."""
        control = build_control(await request.read(), now=now(), actor="http")
        if control.state == "halted" and (unknown := self._catalog.unknown_scope(control.scope)):
            return problem(422, f"the catalog has no {unknown}", "scope")
        await self._doors.announce(control)
        return web.json_response(_told(control), status=202)

    async def get_halts(self, _: web.Request) -> web.Response:
        return web.json_response({"halts": [_told(control) for control in self._doors.halts.active(now())]})


def _told(control: Control) -> dict[str, object]:
    told: dict[str, object] = msgspec.to_builtins(control)
    return {name: told[name] for name in ("scope", "state", "reason", "actor", "at", "until", "cause")}
