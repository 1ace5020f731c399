"""The simulator over HTTP, with Google's paths, and `/_sim/...` to steer and to look."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from email.parser import BytesParser
from email.policy import HTTP
from random import Random
from typing import Any
from urllib.parse import unquote

import msgspec
from aiohttp import web

from lab.search_console import clock
from lab.search_console.answers import Refused
from lab.search_console.engine import Answer, Engine, Request
from lab.search_console.quotas import highest_by, highest_window
from lab.search_console.settings import Fault, SimulatorSettings
from lab.search_console.tokens import InvalidGrant

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_QUERY_PATH = "/webmasters/v3/sites/"
_QUERY_END = "/searchAnalytics/query"
_MAX_PARTS = 1000


class Simulator:
    """Serves an engine; `root` is the API root once started."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.engine = Engine(settings)
        self.root = ""
        self._shuffle = Random(settings.seed)  # noqa: S311 - only the order of batch answers
        self._runner = web.AppRunner(self._app(), access_log=None)

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20, middlewares=[self._unwell])
        app.add_routes(
            [
                web.get("/webmasters/v3/sites", self._sites),
                web.post("/webmasters/v3/sites/{site}/searchAnalytics/query", self._query),
                web.post("/token", self._token),
                web.post("/v1/token", self._exchange),
                web.post("/v1/projects/-/serviceAccounts/{user}:generateAccessToken", self._impersonate),
                web.post("/batch", self._batch),
                web.get("/_sim/credentials/{user}", self._credentials),
                web.get("/_sim/subject-token/{user}", self._subject_token),
                web.get("/_sim/log", self._log),
                web.get("/_sim/stats", self._stats),
                web.get("/_sim/truth", self._truth),
                web.post("/_sim/faults", self._faults),
                web.post("/_sim/settings", self._settings),
                web.post("/_sim/revise", self._revise),
                web.post("/_sim/expire-tokens", self._expire),
                web.post("/_sim/revoke", self._revoke),
            ]
        )
        return app

    @web.middleware
    async def _unwell(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        status = self.engine.settings.token_status
        if status is not None and request.path.endswith(("/token", ":generateAccessToken")):
            return web.json_response({"error": "internal_failure"}, status=status)
        return await handler(request)

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
        try:
            urls = self.engine.sites_of(request.headers.get("Authorization", ""))
        except Refused as refused:
            return web.Response(status=refused.status, body=refused.body(), content_type="application/json")
        entries = [{"siteUrl": url, "permissionLevel": "siteFullUser"} for url in urls]
        return web.json_response({"siteEntry": entries} if entries else {})

    async def _query(self, request: web.Request) -> web.StreamResponse:
        asked = Request(request.headers.get("Authorization", ""), _site(request.raw_path), await request.read())
        answer = await self.engine.answer(asked)
        if answer.fault is not None:
            return await _played(answer, answer.fault, request)
        return _response(answer, request)

    async def _token(self, request: web.Request) -> web.Response:
        return _granted(lambda form: self.engine.tokens.grant(form, clock.wall()), await request.post())

    async def _exchange(self, request: web.Request) -> web.Response:
        return _granted(self.engine.tokens.exchange, await request.post())

    async def _impersonate(self, request: web.Request) -> web.Response:
        user, authorization = request.match_info["user"], request.headers.get("Authorization", "")
        try:
            answer = self.engine.tokens.impersonate(user, authorization, await request.json(), clock.wall())
        except InvalidGrant as error:
            refused = Refused(403, str(error), reason="forbidden")
            return web.Response(status=403, body=refused.body(), content_type="application/json")
        return web.json_response(answer)

    async def _batch(self, request: web.Request) -> web.Response:
        """Every part is a call of its own; the answers come in any order."""
        raw = f"Content-Type: {request.headers.get('Content-Type', '')}\r\n\r\n".encode() + await request.read()
        parts = BytesParser(policy=HTTP).parsebytes(raw).get_payload()
        if not isinstance(parts, list) or not 0 < len(parts) <= _MAX_PARTS:
            refused = Refused(400, f"A batch has 1 to {_MAX_PARTS} parts.", reason="badRequest")
            return web.Response(status=400, body=refused.body(), content_type="application/json")
        outer = request.headers.get("Authorization", "")
        answers = await asyncio.gather(*(self._part(part, outer) for part in parts))
        self._shuffle.shuffle(answers)
        body = b"".join(b"--batch_answer\r\n" + answer for answer in answers) + b"--batch_answer--\r\n"
        return web.Response(body=body, headers={"Content-Type": "multipart/mixed; boundary=batch_answer"})

    async def _part(self, part: Any, outer: str) -> bytes:
        head, _, body = part.get_payload(decode=True).partition(b"\r\n\r\n")
        if not body:
            head, _, body = part.get_payload(decode=True).partition(b"\n\n")
        lines = head.decode().splitlines()
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        path = lines[0].split(" ")[1] if lines and " " in lines[0] else ""
        asked = Request(headers.get("authorization", outer), _site(path), body, in_batch=True)
        answer = await self.engine.answer(asked)
        content_id = str(part.get("Content-ID", "")).strip("<>")
        text = gzip.decompress(answer.gzipped)
        retry_after = "" if answer.retry_after is None else f"Retry-After: {answer.retry_after}\r\n"
        return (
            f"Content-Type: application/http\r\nContent-ID: <response-{content_id}>\r\n\r\n"
            f"HTTP/1.1 {answer.status} Simulated\r\nContent-Type: application/json; charset=UTF-8\r\n{retry_after}"
            f"Content-Length: {len(text)}\r\n\r\n"
        ).encode() + text + b"\r\n"  # fmt: skip

    async def _credentials(self, request: web.Request) -> web.Response:
        try:
            return web.json_response(self.engine.tokens.credential_file(request.match_info["user"], self.root))
        except KeyError:
            return web.json_response({"error": "unknown user"}, status=404)

    async def _subject_token(self, request: web.Request) -> web.Response:
        try:
            return web.Response(text=self.engine.tokens.subject_token(request.match_info["user"]))
        except KeyError:
            return web.json_response({"error": "unknown user"}, status=404)

    async def _log(self, request: web.Request) -> web.Response:
        calls = self.engine.calls[int(request.query.get("since", "0")) :]
        return web.Response(body=b"".join(msgspec.json.encode(call) + b"\n" for call in calls))

    async def _stats(self, _: web.Request) -> web.Response:
        calls = self.engine.calls
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
                "tokens_issued": self.engine.tokens.issued_count,
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
        }
        rows = await asyncio.to_thread(self.engine.truth, query["site"], json.dumps(body).encode())
        return web.Response(body=json.dumps(rows).encode(), content_type="application/json")

    async def _faults(self, request: web.Request) -> web.Response:
        return self._changed(await request.read(), tuple[Fault, ...], self.engine.faults.replace)

    async def _settings(self, request: web.Request) -> web.Response:
        """Replace some settings; a body with the names of SimulatorSettings."""
        merged = {**msgspec.to_builtins(self.engine.settings), **json.loads(await request.read())}

        def apply(settings: SimulatorSettings) -> None:
            self.engine.settings = settings
            self.engine.tokens.lifetime_s = settings.token_lifetime_s

        return self._changed(msgspec.json.encode(merged), SimulatorSettings, apply)

    @staticmethod
    def _changed(data: bytes, kind: Any, apply: Any) -> web.Response:
        try:
            apply(msgspec.json.decode(data, type=kind))
        except msgspec.ValidationError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"ok": True})

    async def _revise(self, request: web.Request) -> web.Response:
        body = await request.json()
        day = msgspec.convert(body["date"], type=date)
        self.engine.revise(body["site"], day, body.get("change", 0), body.get("add", 0), body.get("vanish", 0))
        return web.json_response({"ok": True})

    async def _expire(self, _: web.Request) -> web.Response:
        self.engine.tokens.expire_all()
        return web.json_response({"ok": True})

    async def _revoke(self, request: web.Request) -> web.Response:
        body = await request.json()
        revoked = self.engine.tokens.revoked
        (revoked.add if body.get("revoked", True) else revoked.discard)(body["user"])
        return web.json_response({"ok": True})


def _granted(grant: Callable[[dict[str, str]], dict[str, Any]], form: Mapping[str, object]) -> web.Response:
    try:
        return web.json_response(grant({name: str(value) for name, value in form.items()}))
    except InvalidGrant as error:
        return web.json_response({"error": "invalid_grant", "error_description": str(error)}, status=400)


def _site(raw_path: str) -> str:
    path = raw_path.partition("?")[0]
    return unquote(path.removeprefix(_QUERY_PATH).removesuffix(_QUERY_END))


def _response(answer: Answer, request: web.Request) -> web.Response:
    headers = {"Content-Type": "application/json; charset=UTF-8"}
    if answer.retry_after is not None:
        headers["Retry-After"] = str(answer.retry_after)
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return web.Response(status=answer.status, body=answer.gzipped, headers=headers)
    return web.Response(status=answer.status, body=gzip.decompress(answer.gzipped), headers=headers)


async def _played(answer: Answer, fault: Fault, request: web.Request) -> web.StreamResponse:
    """Faults that are not an answer with an error in it."""
    if fault.kind == "stall":
        await asyncio.sleep(fault.seconds)
        return _response(answer, request)
    if fault.kind == "content_type":
        return web.Response(body=b"<html>proxy says no</html>", content_type="text/html")
    if fault.kind == "invalid_json":
        return web.Response(body=b'{"rows": [', content_type="application/json")
    if fault.kind == "wrong_shape":
        return web.Response(body=b'{"rows": [{"keys": 7}]}', content_type="application/json")
    if fault.kind == "truncated_gzip":
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        return web.Response(body=answer.gzipped[: len(answer.gzipped) // 2], headers=headers)
    return await _cut_off(answer, fault, request)


async def _cut_off(answer: Answer, fault: Fault, request: web.Request) -> web.StreamResponse:
    """Close the connection before (reset) or within (truncated) the body."""
    body = gzip.decompress(answer.gzipped)
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
    if fault.kind == "truncated":
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.abort()
    return response
