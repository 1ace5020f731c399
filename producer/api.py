"""The producer's HTTP API: `POST /v1/syncs`, `GET /v1/runs/{run_id}`, `POST /v1/halts`, `GET /v1/halts`."""

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from pipeline.catalog import Catalog
from pipeline.clock import now
from pipeline.contracts.halts import Halts, build_control, control_fields
from pipeline.contracts.identity import run_id
from pipeline.contracts.messages import SyncRequest
from pipeline.errors import Invalid, Retryable
from pipeline.health import problem, unauthorized
from pipeline.ledger import runs
from pipeline.pacific import pacific_date
from pipeline.postgres import Connect
from pipeline.publisher import Publisher, publish_control, publish_request
from pipeline.settings import HttpSettings
from producer.sync_request import build_request, id_conflict, validate

Handler = Callable[[web.Request], Awaitable[web.Response]]


class Api:
    """Answers requests. A sync request is published on its topic, where the intake reads it."""

    def __init__(self, catalog: Catalog, publisher: Publisher, prefix: str, connect: Connect, halts: Halts) -> None:
        self._catalog = catalog
        self._publisher = publisher
        self._prefix = prefix
        self._connect = connect
        self._halts = halts

    def routes(self, settings: HttpSettings) -> list[web.RouteDef]:
        """Return the routes. Every one needs the bearer token."""
        return [
            web.post("/v1/syncs", _guarded(settings, self._post_sync)),
            web.get("/v1/runs/{run_id}", _guarded(settings, self._get_run)),
            web.post("/v1/halts", _guarded(settings, self._post_halt)),
            web.get("/v1/halts", _guarded(settings, self._get_halts)),
        ]

    def replace_catalog(self, catalog: Catalog) -> None:
        """Check requests against another catalog from now on."""
        self._catalog = catalog

    async def request_sync(self, request: SyncRequest) -> None:
        """Publish a sync request. Raises Retryable."""
        await publish_request(self._publisher, self._prefix, request)

    async def _post_sync(self, http_request: web.Request) -> web.Response:
        today = pacific_date(now())
        request = build_request(await http_request.read(), now=now(), today=today, requested_by="http")
        if problems := validate(request, self._catalog, today):
            errors = [{"field": item.field, "message": item.message} for item in problems]
            return web.json_response({"error": errors[0], "errors": errors}, status=422)
        if conflict := id_conflict(await self._planned_before(request.request_id), request):
            return problem(409, conflict, "request_id")
        await self.request_sync(request)
        body = {"request_id": request.request_id, "run_id": run_id(request.request_id)}
        return web.json_response(body, status=202)

    async def _planned_before(self, request_id: str) -> SyncRequest | None:
        try:
            async with self._connect() as conn:
                return await runs.request_of(conn, run_id(request_id))
        except Retryable:  # Kafka keeps the request; the intake checks it when PostgreSQL is back
            return None

    async def _get_run(self, request: web.Request) -> web.Response:
        async with self._connect() as conn:
            run = await runs.progress(conn, request.match_info["run_id"])
        if run is None:
            return problem(404, "no such run", "run_id")
        return web.json_response(body=msgspec.json.encode(run))

    async def _post_halt(self, request: web.Request) -> web.Response:
        """Halt a scope, or resume it with `"state": "running"`."""
        control = build_control(await request.read(), now=now(), actor="http")
        if control.state == "halted" and (unknown := self._catalog.unknown_scope(control.scope)):
            return problem(422, f"the catalog has no {unknown}", "scope")
        await publish_control(self._publisher, self._prefix, control)
        return web.json_response(control_fields(control), status=202)

    async def _get_halts(self, _: web.Request) -> web.Response:
        return web.json_response({"halts": [control_fields(control) for control in self._halts.active(now())]})


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
