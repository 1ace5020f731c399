"""The simulator over HTTP, with Google's paths."""

import asyncio
import json
from functools import partial
from random import Random
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from lab.search_console import batches
from lab.search_console.control_api import Steering
from lab.search_console.engine import Engine, Request
from lab.search_console.faults import Answer, answer_of
from lab.search_console.keys import Keys
from lab.search_console.refusals import Refused, bad_request
from lab.search_console.settings import SimulatorSettings
from lab.search_console.transport import aborted, delivered

_SITES_PATH = "/webmasters/v3/sites"
_QUERY_PATH = f"{_SITES_PATH}/"
_QUERY_END = "/searchAnalytics/query"
_STOP_S = 1.0  # calls that a stall holds are not waited for


class Simulator:
    """Serves an engine; `root` is the API root once started."""

    def __init__(self, settings: SimulatorSettings, keys: Keys | None = None) -> None:
        self.engine = Engine(settings, keys)
        self.root = ""
        self._shuffle = Random(settings.seed)  # noqa: S311 - only the order of batch answers
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=_STOP_S)

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20)
        app.add_routes(
            [
                web.get(_SITES_PATH, self._sites),
                web.post(f"{_QUERY_PATH}{{site}}{_QUERY_END}", self._query),
                web.post("/token", self._token),
                web.post("/v1/token", self._exchange),
                web.post("/v1/projects/-/serviceAccounts/{user}:generateAccessToken", self._impersonate),
                web.post("/batch", self._batch),
            ]
        )
        app.add_subapp("/_sim", Steering(self.engine, lambda: self.root).app())
        return app

    async def start(self, host: str = "127.0.0.1", port: int = 0, root: str | None = None) -> None:
        """Listen; `root` is how clients reach it, if not so."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        self.root = root or f"http://{host}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close the port."""
        await self._runner.cleanup()
        self.engine.close()

    async def _sites(self, request: web.Request) -> web.StreamResponse:
        return await delivered(await self.engine.sites(request.headers.get("Authorization", "")), request)

    async def _query(self, request: web.Request) -> web.StreamResponse:
        asked = Request(request.headers.get("Authorization", ""), _site(request.raw_path), await request.read())
        return await delivered(await self.engine.query(asked), request)

    async def _token(self, request: web.Request) -> web.StreamResponse:
        form = await _form(request)
        tokens = self.engine.tokens
        return await delivered(await self.engine.token(tokens.claimant(form), partial(tokens.grant, form)), request)

    async def _exchange(self, request: web.Request) -> web.StreamResponse:
        form = await _form(request)
        tokens = self.engine.tokens
        return await delivered(await self.engine.token(tokens.claimant(form), partial(tokens.exchange, form)), request)

    async def _impersonate(self, request: web.Request) -> web.StreamResponse:
        user, authorization = request.match_info["user"], request.headers.get("Authorization", "")
        grant = partial(self.engine.tokens.impersonate, user, authorization, _json(await request.read()))
        return await delivered(await self.engine.token(user, grant, oauth=False), request)

    async def _batch(self, request: web.Request) -> web.StreamResponse:
        """Every part is a call of its own; the answers come in any order."""
        try:
            parts = batches.decoded(request.headers.get("Content-Type", ""), await request.read())
        except Refused as refused:
            return await delivered(answer_of(refused), request)
        outer = request.headers.get("Authorization", "")
        found = await asyncio.gather(*(self._part(part, outer) for part in parts))
        if any(answer.cut == "reset" for answer in found):
            return aborted(request)
        answers = [(part.id, answer) for part, answer in zip(parts, found, strict=True)]
        self._shuffle.shuffle(answers)
        return web.Response(body=batches.encoded(answers), headers={"Content-Type": batches.CONTENT_TYPE})

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
    """The fields of a form; none when it cannot be read."""
    try:
        return {name: str(value) for name, value in (await request.post()).items()}
    except (ValueError, LookupError):
        return {}


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
