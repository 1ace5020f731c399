"""The producer's HTTP API, `/v1/...`, and its document, `/openapi.json`."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.metadata import version
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from pipeline.catalog import Catalog
from pipeline.clock import now
from pipeline.contracts.codec import parse_fields, parse_texts
from pipeline.contracts.halts import Halts, build_control, halt_record
from pipeline.contracts.identity import run_id
from pipeline.contracts.messages import Control, Name, SyncRequest
from pipeline.contracts.resources import (
    AcceptedSync,
    CancelledRun,
    DayList,
    FieldError,
    HaltList,
    HaltRecord,
    RunList,
    RunProgress,
    StatusReport,
    UtcTime,
)
from pipeline.errors import Invalid, Retryable
from pipeline.health import problem, unauthorized
from pipeline.ledger import days, runs
from pipeline.pacific import pacific_date
from pipeline.postgres import Connect, Connection
from pipeline.publisher import Publisher, publish_control, publish_request
from pipeline.settings import HttpSettings
from producer.cancellation import cancel_run, run_halt
from producer.openapi import Operation, openapi_document
from producer.sync_request import SyncBody, build_request, id_conflict, validate

ACTOR = "http"
DEFAULT_DAYS = 30

Handler = Callable[[web.Request], Awaitable[web.Response]]


class RunsQuery(Struct, forbid_unknown_fields=True):
    """Which runs to list."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 20


class DaysQuery(Struct, forbid_unknown_fields=True):
    """Which days to list: of a property, by default the last thirty."""

    property: Name
    start: date | None = None
    end: date | None = None
    report: Name | None = None


class ReasonQuery(Struct, forbid_unknown_fields=True):
    """Why, for the record."""

    reason: str = ""


class HaltBody(Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/halts`."""

    scope: Name
    reason: str
    until: UtcTime | None = None
    """When the halt ends; null: when it is resumed."""


ReadStatus = Callable[[Connection, Sequence[Control], Catalog | None], Awaitable[StatusReport]]


@dataclass(frozen=True)
class Sources:
    """Where answers come from."""

    connect: Connect
    connect_for_counts: Connect
    """For statements that may take longer."""
    halts: Halts
    read_status: ReadStatus


class Api:
    """Answers requests. A sync request is published on its topic, where the intake reads it."""

    def __init__(self, catalog: Catalog, publisher: Publisher, prefix: str, sources: Sources) -> None:
        self._catalog = catalog
        self._publisher = publisher
        self._prefix = prefix
        self._sources = sources
        self._connect = sources.connect
        self._halts = sources.halts

    def operations(self) -> list[Operation]:
        """Return every operation. Each needs the bearer token."""
        return [
            Operation(
                "POST", "/v1/syncs", "requestSync", "Request a sync.", self._post_sync, AcceptedSync, 202,
                body=SyncBody, problems=("409", "422"),
            ),
            Operation(
                "GET", "/v1/runs", "listRuns", "List the newest runs.", self._list_runs, RunList, query=RunsQuery
            ),
            Operation(
                "GET", "/v1/runs/{run_id}", "getRun", "Get a run, and how far it is.", self._get_run, RunProgress,
                problems=("404",),
            ),
            Operation(
                "DELETE", "/v1/runs/{run_id}", "cancelRun", "Cancel the unfinished pages of a run.", self._cancel_run,
                CancelledRun, query=ReasonQuery, problems=("404",),
            ),
            Operation(
                "GET", "/v1/status", "getStatus", "Get what the pipeline does and what waits.", self._get_status,
                StatusReport,
            ),
            Operation("GET", "/v1/halts", "listHalts", "List the active halts.", self._list_halts, HaltList),
            Operation(
                "POST", "/v1/halts", "haltScope", "Halt a scope.", self._post_halt, HaltRecord, 202, body=HaltBody,
                problems=("422",),
            ),
            Operation(
                "DELETE", "/v1/halts/{scope:.+}", "resumeScope", "Resume a scope, halted or not.", self._resume,
                HaltRecord, 202, query=ReasonQuery,
            ),
            Operation(
                "GET", "/v1/days", "listDays", "List days of a property, and what the table has of them.",
                self._list_days, DayList, query=DaysQuery, problems=("422",),
            ),
        ]  # fmt: skip

    def routes(self, settings: HttpSettings) -> list[web.RouteDef]:
        """Return the routes: the operations, and their document, which anybody may read."""
        operations = self.operations()
        document = msgspec.json.encode(openapi_document(operations, version("gsc-stream")))

        async def get_document(_: web.Request) -> web.Response:
            return web.Response(body=document, content_type="application/json")

        guarded = [web.route(item.method, item.path, _guarded(settings, item.handler)) for item in operations]
        return [web.get("/openapi.json", get_document), *guarded]

    def replace_catalog(self, catalog: Catalog) -> None:
        """Check requests against another catalog from now on."""
        self._catalog = catalog

    async def request_sync(self, request: SyncRequest) -> None:
        """Publish a sync request. Raises Retryable."""
        await publish_request(self._publisher, self._prefix, request)

    async def _post_sync(self, http_request: web.Request) -> web.Response:
        today = pacific_date(now())
        request = build_request(await http_request.read(), now=now(), today=today, requested_by=ACTOR)
        if problems := validate(request, self._catalog, today):
            errors = [FieldError(item.field, item.message) for item in problems]
            return problem(422, errors[0].message, errors[0].field, errors)
        if conflict := id_conflict(await self._planned_before(request.request_id), request):
            return problem(409, conflict, "request_id")
        await self.request_sync(request)
        return _answer(AcceptedSync(request.request_id, run_id(request.request_id)), 202)

    async def _planned_before(self, request_id: str) -> SyncRequest | None:
        try:
            async with self._connect() as conn:
                return await runs.request_of(conn, run_id(request_id))
        except Retryable:  # Kafka keeps the request; the intake checks it when PostgreSQL is back
            return None

    async def _list_runs(self, request: web.Request) -> web.Response:
        query = parse_texts(RunsQuery, request.query)
        async with self._connect() as conn:
            return _answer(RunList(await runs.newest(conn, query.limit)))

    async def _get_run(self, request: web.Request) -> web.Response:
        async with self._connect() as conn:
            run = await runs.progress(conn, request.match_info["run_id"])
        return _answer(run) if run else problem(404, "no such run", "run_id")

    async def _cancel_run(self, request: web.Request) -> web.Response:
        run, query = request.match_info["run_id"], parse_texts(ReasonQuery, request.query)
        async with self._sources.connect_for_counts() as conn:
            if await runs.progress(conn, run) is None:
                return problem(404, "no such run", "run_id")
            halt = run_halt(run, query.reason or "over HTTP", ACTOR)
            cancelled = await cancel_run(conn, self._publisher, self._prefix, halt)
        return _answer(CancelledRun(run, cancelled.pages))

    async def _get_status(self, _: web.Request) -> web.Response:
        async with self._sources.connect_for_counts() as conn:
            return _answer(await self._sources.read_status(conn, self._halts.active(now()), self._catalog))

    async def _list_halts(self, _: web.Request) -> web.Response:
        return _answer(HaltList([halt_record(control) for control in self._halts.active(now())]))

    async def _post_halt(self, request: web.Request) -> web.Response:
        body = parse_fields(HaltBody, await request.read())
        control = build_control(msgspec.structs.asdict(body), now=now(), actor=ACTOR)
        if unknown := self._catalog.unknown_scope(control.scope):
            return problem(422, f"the catalog has no {unknown}", "scope")
        return await self._publish(control)

    async def _resume(self, request: web.Request) -> web.Response:
        """A scope that the catalog does not have any more can be resumed, too."""
        query = parse_texts(ReasonQuery, request.query)
        fields = {"scope": request.match_info["scope"], "state": "running", "reason": query.reason}
        return await self._publish(build_control(fields, now=now(), actor=ACTOR))

    async def _publish(self, control: Control) -> web.Response:
        await publish_control(self._publisher, self._prefix, control)
        return _answer(halt_record(control), 202)

    async def _list_days(self, request: web.Request) -> web.Response:
        query = parse_texts(DaysQuery, request.query)
        if unknown := self._catalog.unknown_scope(f"property:{query.property}"):
            return problem(422, f"the catalog has no {unknown}", "property")
        end = query.end or pacific_date(now())
        start = query.start or end - timedelta(days=DEFAULT_DAYS - 1)
        async with self._connect() as conn:
            return _answer(DayList(await days.of_property(conn, query.property, (start, end), query.report)))


def _answer(resource: Struct, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(resource), status=status, content_type="application/json")


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
