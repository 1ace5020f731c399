"""The simulator's HTTP server, with Google's paths."""

import asyncio
import gzip
import json
from functools import partial
from random import Random
from typing import Any, cast
from urllib.parse import unquote

from aiohttp import web

from lab.event_loop import close_listener
from lab.search_console import batches
from lab.search_console.control_api import ControlApi
from lab.search_console.engine import Engine, Request
from lab.search_console.faults import Answer, answer_of, slow_pieces
from lab.search_console.keys import Keys
from lab.search_console.refusals import Refused, bad_request
from lab.search_console.settings import Fault, SimulatorSettings

_SITES_PATH = "/webmasters/v3/sites"
_QUERY_PATH = f"{_SITES_PATH}/"
_QUERY_END = "/searchAnalytics/query"
_SITEMAPS = "/sitemaps"
_STOP_S = 1.0  # stop does not wait for stalled calls


class Simulator:
    """Serves an engine. `root` is the API root after `start`."""

    def __init__(self, settings: SimulatorSettings, keys: Keys | None = None) -> None:
        self.engine = Engine(settings, keys)
        self.root = ""
        self._shuffle = Random(settings.seed)  # noqa: S311 - only the order of batch answers
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=_STOP_S)
        self._listeners: list[asyncio.Server] = []

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20)
        app.add_routes(
            [
                web.get(_SITES_PATH, self._sites),
                web.post(f"{_QUERY_PATH}{{site}}{_QUERY_END}", self._query),
                web.get(f"{_QUERY_PATH}{{site}}{_SITEMAPS}", self._sitemaps),
                web.get(f"{_QUERY_PATH}{{site}}{_SITEMAPS}/{{feedpath}}", self._sitemaps),
                web.get("/o/oauth2/auth", self._consent),
                web.post("/token", self._token),
                web.post("/v1/token", self._exchange),
                web.post("/v1/projects/-/serviceAccounts/{user}:generateAccessToken", self._impersonate),
                web.post("/batch", self._batch),
            ]
        )
        app.add_subapp("/_sim", ControlApi(self.engine, lambda: self.root).app())
        return app

    async def start(self, host: str = "127.0.0.1", port: int = 0, root: str | None = None) -> None:
        """Listen; `root` is the address for clients if it differs from host and port."""
        await self._runner.setup()
        server = cast("web.Server", self._runner.server)
        listener = await asyncio.get_running_loop().create_server(server, host, port)
        self._listeners.append(listener)
        self.root = root or f"http://{host}:{listener.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Close the port and every connection."""
        for listener in self._listeners:
            await close_listener(listener)
        await self._runner.cleanup()
        self.engine.close()

    async def _sites(self, request: web.Request) -> web.StreamResponse:
        return await send(await self.engine.sites(request.headers.get("Authorization", "")), request)

    async def _query(self, request: web.Request) -> web.StreamResponse:
        asked = Request(request.headers.get("Authorization", ""), _site(request.raw_path), await request.read())
        return await send(await self.engine.query(asked), request)

    async def _sitemaps(self, request: web.Request) -> web.StreamResponse:
        site, _, path = request.raw_path.partition("?")[0].removeprefix(_QUERY_PATH).partition(f"{_SITEMAPS}")
        asked = Request(request.headers.get("Authorization", ""), unquote(site))
        return await send(await self.engine.sitemaps(asked, unquote(path[1:]) or None), request)

    async def _consent(self, request: web.Request) -> web.StreamResponse:
        """Send the browser of a person who consents, or does not, back to the application."""
        try:
            raise web.HTTPFound(self.engine.tokens.consent(request.query))
        except Refused as refused:
            return await send(answer_of(refused), request)

    async def _token(self, request: web.Request) -> web.StreamResponse:
        form = await _form(request)
        tokens = self.engine.tokens
        return await send(await self.engine.token(tokens.claimant(form), partial(tokens.grant, form)), request)

    async def _exchange(self, request: web.Request) -> web.StreamResponse:
        form = await _form(request)
        tokens = self.engine.tokens
        return await send(await self.engine.token(tokens.claimant(form), partial(tokens.exchange, form)), request)

    async def _impersonate(self, request: web.Request) -> web.StreamResponse:
        user, authorization = request.match_info["user"], request.headers.get("Authorization", "")
        grant = partial(self.engine.tokens.impersonate, user, authorization, _json(await request.read()))
        return await send(await self.engine.token(user, grant, oauth=False), request)

    async def _batch(self, request: web.Request) -> web.StreamResponse:
        """Answer a batch: each part is one call, and the answers are in random order."""
        try:
            parts = batches.decoded(request.headers.get("Content-Type", ""), await request.read())
        except Refused as refused:
            return await send(answer_of(refused), request)
        outer = request.headers.get("Authorization", "")
        found = await asyncio.gather(*(self._part(part, outer) for part in parts))
        if any(answer.cut == "reset" for answer in found):
            return abort(request)
        answers = [(part.id, answer) for part, answer in zip(parts, found, strict=True)]
        self._shuffle.shuffle(answers)
        slow = next((answer.slow for answer in found if answer.slow), None)
        return await _send_body(web.StreamResponse(), batches.encoded(answers), batches.CONTENT_TYPE, slow, request)

    async def _part(self, part: batches.Part, outer: str) -> Answer:
        path = part.path.partition("?")[0]
        authorization = outer if part.authorization is None else part.authorization
        if not part.method:
            return answer_of(bad_request("Failed to parse the request of this part."))
        if part.method == "POST" and path.startswith(_QUERY_PATH) and path.endswith(_QUERY_END):
            return await self.engine.query(Request(authorization, _site(path), part.body, in_batch=True))
        if part.method == "GET" and path == _SITES_PATH:
            return await self.engine.sites(authorization, in_batch=True)
        return answer_of(Refused(404, "Not Found", reason="notFound"))


def _site(raw_path: str) -> str:
    path = raw_path.partition("?")[0]
    return unquote(path.removeprefix(_QUERY_PATH).removesuffix(_QUERY_END))


async def _form(request: web.Request) -> dict[str, str]:
    """Return the fields of a form; none when it cannot be parsed."""
    try:
        return {name: str(value) for name, value in (await request.post()).items()}
    except (ValueError, LookupError):
        return {}


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


async def send(answer: Answer, request: web.Request) -> web.StreamResponse:
    """Send an answer, truncated or slowly if a fault says so."""
    if answer.cut in ("reset", "truncated"):
        return await _cut_off(answer, request)
    response = web.StreamResponse(status=answer.status)
    if answer.retry_after is not None:
        response.headers["Retry-After"] = str(answer.retry_after)
    body = answer.gzipped
    if answer.cut == "truncated_gzip":
        body = body[: len(body) // 2]
    if answer.cut == "truncated_gzip" or "gzip" in request.headers.get("Accept-Encoding", ""):
        response.headers["Content-Encoding"] = "gzip"
    else:
        body = gzip.decompress(body)
    return await _send_body(response, body, answer.content_type, answer.slow, request)


async def _send_body(
    response: web.StreamResponse, body: bytes, content_type: str, slow: Fault | None, request: web.Request
) -> web.StreamResponse:
    response.headers["Content-Type"] = content_type
    response.content_length = len(body)
    await response.prepare(request)
    for piece, pause_s in slow_pieces(body, slow) if slow else [(body, 0.0)]:
        if request.transport is None:  # the client has given up
            break
        await response.write(piece)
        await asyncio.sleep(pause_s)
    return response


async def _cut_off(answer: Answer, request: web.Request) -> web.StreamResponse:
    """Close the connection before the body (reset) or within it (truncated)."""
    body = gzip.decompress(answer.gzipped)
    response = web.StreamResponse(headers={"Content-Type": answer.content_type, "Content-Length": str(len(body))})
    if answer.cut == "truncated":
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
    return abort(request, response)


def abort(request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    """Close the connection."""
    if request.transport is not None:
        request.transport.abort()
    return response or web.StreamResponse()
