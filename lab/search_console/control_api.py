"""`/_sim/...`: control the simulator and inspect its calls. Invalid input is answered with 400."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

import msgspec
from aiohttp import web

from lab.search_console import clock
from lab.search_console.call_journal import KINDS
from lab.search_console.engine import Engine
from lab.search_console.quotas import highest_by, highest_window
from lab.search_console.refusals import Refused
from lab.search_console.settings import Fault, SimulatorSettings

_KINDS = {str(kind): kind for kind in KINDS}
Day = date
"""The type of a field that is itself named `date`: from Python 3.14 on, its name would hide the type."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Revision(msgspec.Struct, frozen=True):
    site: str
    date: Day
    change: int = 0
    add: int = 0
    vanish: int = 0


class _Rendering(msgspec.Struct, frozen=True):
    site: str
    query: dict[str, Any]


class _Revocation(msgspec.Struct, frozen=True):
    user: str
    revoked: bool = True


class _Expiry(msgspec.Struct, frozen=True):
    user: str | None = None


class ControlApi:
    """The control API of an engine. `root` returns the address for clients."""

    def __init__(self, engine: Engine, root: Callable[[], str]) -> None:
        self._engine = engine
        self._root = root

    def app(self) -> web.Application:
        """Return the routes as a separate application."""
        app = web.Application(middlewares=[_errors_as_json])
        app.add_routes(
            [
                web.get("/credentials/{user}", self._credentials),
                web.get("/subject-token/{user}", self._subject_token),
                web.get("/log", self._log),
                web.get("/stats", self._stats),
                web.get("/truth", self._truth),
                web.post("/faults", self._faults),
                web.post("/settings", self._settings),
                web.post("/revise", self._revise),
                web.post("/render", self._render),
                web.post("/expire-tokens", self._expire),
                web.post("/revoke", self._revoke),
            ]
        )
        return app

    async def _credentials(self, request: web.Request) -> web.Response:
        return web.json_response(self._engine.tokens.credential_file(request.match_info["user"], self._root()))

    async def _subject_token(self, request: web.Request) -> web.Response:
        return web.Response(text=self._engine.tokens.subject_token(request.match_info["user"]))

    async def _log(self, request: web.Request) -> web.Response:
        """Return the log from line `since` on: of queries, of calls of another `kind`, or of all calls."""
        kind, since = request.query.get("kind", "query"), int(request.query.get("since", "0"))
        journal = self._engine.journal
        calls = journal.all() if kind == "all" else journal.of(_KINDS[kind])
        return web.Response(body=b"".join(msgspec.json.encode(call) + b"\n" for call in calls[since:]))

    async def _stats(self, _: web.Request) -> web.Response:
        calls = self._engine.calls
        times = [call.arrived for call in calls]
        return web.json_response(
            {
                "calls": len(calls),
                "refused": sum(call.status in (403, 429) for call in calls),
                "in_flight": sum(call.finished is None for call in calls),
                "last_minute": sum(clock.monotonic() - moment < 60 for moment in times),
                "peak_project": highest_window(times),
                "peak_by_site": highest_by([call.site for call in calls], times),
                "peak_by_user": highest_by([call.user for call in calls], times),
                "tokens_issued": self._engine.tokens.issued_count,
            }
        )

    async def _truth(self, request: web.Request) -> web.Response:
        query = request.query
        body = {
            "startDate": query["date"],
            "endDate": query["date"],
            "type": query.get("type", "web"),
            "dimensions": [name for name in query.get("dimensions", "").split(",") if name],
            "dataState": query.get("dataState", "final"),
            "dimensionFilterGroups": [{"filters": json.loads(query.get("filters", "[]"))}],
        }
        rows = await asyncio.to_thread(self._engine.truth, query["site"], json.dumps(body).encode())
        return web.Response(body=json.dumps(rows).encode(), content_type="application/json")

    async def _faults(self, request: web.Request) -> web.Response:
        self._engine.faults.replace(msgspec.json.decode(await request.read(), type=tuple[Fault, ...]))
        return _ok()

    async def _settings(self, request: web.Request) -> web.Response:
        """Replace some settings. The body has the field names of SimulatorSettings."""
        changes: dict[str, Any] = msgspec.json.decode(await request.read(), type=dict[str, Any])
        merged = {**msgspec.to_builtins(self._engine.settings), **changes}
        self._engine.change(msgspec.convert(merged, SimulatorSettings, strict=True, str_keys=True))
        return _ok()

    async def _revise(self, request: web.Request) -> web.Response:
        revision = msgspec.json.decode(await request.read(), type=_Revision)
        self._engine.pages.revise(revision.site, revision.date, revision.change, revision.add, revision.vanish)
        return _ok()

    async def _render(self, request: web.Request) -> web.Response:
        """Render and cache every page of a query, so that its calls take no CPU time; return the number of rows."""
        rendering = msgspec.json.decode(await request.read(), type=_Rendering)
        rows = await self._engine.render(rendering.site, json.dumps(rendering.query).encode())
        return web.json_response({"rows": rows})

    async def _expire(self, request: web.Request) -> web.Response:
        self._engine.tokens.expire(msgspec.json.decode(await request.read(), type=_Expiry).user)
        return _ok()

    async def _revoke(self, request: web.Request) -> web.Response:
        change = msgspec.json.decode(await request.read(), type=_Revocation)
        revoked = self._engine.tokens.revoked
        (revoked.add if change.revoked else revoked.discard)(change.user)
        return _ok()


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except KeyError as error:
        return web.json_response({"error": f"unknown or missing: {error}"}, status=400)
    except (ValueError, msgspec.MsgspecError, Refused) as error:
        return web.json_response({"error": str(error)}, status=400)


def _ok() -> web.Response:
    return web.json_response({"ok": True})
