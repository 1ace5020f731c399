"""The planner over HTTP: `POST /v1/syncs`, `GET /v1/runs/{run_id}`."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from pipeline.catalog import Catalog
from pipeline.clock import now, pacific_date
from pipeline.contracts.identity import run_id
from pipeline.contracts.messages import SyncRequest
from pipeline.errors import Invalid, Retryable
from pipeline.health import problem, refused
from pipeline.settings import HttpSettings
from producer.admission import build_request, problems_of

Accept = Callable[[SyncRequest], Awaitable[None]]
Progress = Callable[[str], Awaitable[dict[str, object] | None]]


def routes(settings: HttpSettings, catalog: Catalog, accept: Accept, progress: Progress) -> list[web.RouteDef]:
    """The routes; every one needs the bearer token."""

    async def post_sync(request: web.Request) -> web.Response:
        if refusal := refused(request, settings):
            return refusal
        try:
            wanted = build_request(await request.read(), now=now(), requested_by="http")
        except Invalid as error:
            return problem(400, error.reason, error.field)
        if problems := problems_of(wanted, catalog, pacific_date(now())):
            errors = [{"field": item.field, "message": item.message} for item in problems]
            return web.json_response({"error": errors[0], "errors": errors}, status=422)
        try:
            await accept(wanted)
        except Retryable as error:
            return problem(503, str(error))
        body = {"request_id": wanted.request_id, "run_id": run_id(wanted.request_id)}
        return web.json_response(body, status=202)

    async def get_run(request: web.Request) -> web.Response:
        if refusal := refused(request, settings):
            return refusal
        try:
            found = await progress(request.match_info["run_id"])
        except Retryable as error:
            return problem(503, str(error))
        return web.json_response(found) if found else problem(404, "no such run", "run_id")

    return [web.post("/v1/syncs", post_sync), web.get("/v1/runs/{run_id}", get_run)]
