"""The HTTP server of a service: /live, /ready and /metrics on one port, and the routes that the service adds."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from http import HTTPStatus
from importlib.metadata import version
from typing import cast

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from pipeline.contracts.resources import FieldError, ProblemDetails
from pipeline.http_listener import MAX_CONNECTIONS, Connections, Listener, open_sockets
from pipeline.log import logger
from pipeline.metric import Service
from pipeline.metrics import exposition, gauge
from pipeline.process import StartError
from pipeline.settings import HttpSettings

_log = logger(__name__)

REQUEST_S = 30.0
SHUTDOWN_S = 3.0
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Check = Callable[[], str | None]
"""Returns None if all is well, else the reason why not."""


class HttpServer:
    """Serves the probes, the metrics and the routes of one service, for the length of a block."""

    def __init__(
        self,
        settings: HttpSettings,
        service: Service,
        *,
        not_ready: Check,
        not_live: Check = lambda: None,
        routes: Sequence[web.RouteDef] = (),
    ) -> None:
        self._settings = settings
        self._service = service
        self._connections = Connections(MAX_CONNECTIONS)
        self._stack = AsyncExitStack()
        self._app = web.Application(client_max_size=1 << 20, middlewares=[self._limited, _errors_as_json])
        self._app.add_routes(
            [
                web.get("/live", _live(not_live)),
                web.get("/ready", _ready(not_ready, settings)),
                web.get("/metrics", _metrics(service)),
                *routes,
            ]
        )

    async def __aenter__(self) -> None:
        await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> int:
        """Listen on the port and return its number. Raises StartError if the port is in use."""
        try:
            sockets = await open_sockets(self._settings.http_host, self._settings.http_port)
        except OSError as error:
            address = f"{self._settings.http_host}:{self._settings.http_port}"
            raise StartError(f"GSC_HTTP_HOST, GSC_HTTP_PORT: cannot listen on {address}: {error.strerror}") from error
        # aiohttp would answer 500 to a body that it cannot decompress. Left compressed, a body is invalid JSON: 400.
        runner = web.AppRunner(self._app, access_log=None, auto_decompress=False, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        server = cast("web.Server", runner.server)  # after the setup there is one
        for listening in sockets:
            await self._stack.enter_async_context(Listener(server, listening, self._connections).running())
        port: int = sockets[0].getsockname()[1]
        gauge("gsc_service_info").labels(self._service, version("gsc-stream")).set(1)
        _log.info("listening", port=port)
        return port

    async def stop(self) -> None:
        """Close the port."""
        await self._stack.aclose()

    @web.middleware
    async def _limited(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Limit the time of a request, for example when its body does not arrive."""
        self._connections.mark_requested(request.protocol)
        try:
            async with asyncio.timeout(REQUEST_S):
                return await handler(request)
        except TimeoutError:
            return problem(503, f"not done within {REQUEST_S:g} s")


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer aiohttp's own errors and bugs in JSON too, such as 404 for an unknown path."""
    try:
        return await handler(request)
    except web.HTTPError as error:
        allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return problem(error.status, error.reason, headers=allowed)
    except TimeoutError:
        raise
    except Exception:
        _log.exception("request_failed", path=request.path)
        return problem(500, "an error of gsc-stream: its log has the details")


def _live(check: Check) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return _state(check())

    return answer


def _ready(check: Check, settings: HttpSettings) -> Handler:
    """Return the handler of /ready. It gives the reason, which may name servers, to this machine and with the token;
    the log has every change."""
    previous: list[str | None] = [None]

    async def answer(request: web.Request) -> web.Response:
        reason = check()
        if (reason is None) != (previous[0] is None):
            _log.warning("not_ready", reason=reason) if reason else _log.info("ready")
        previous[0] = reason
        return _state(reason if reason is None or _may_see(request, settings) else "not ready")

    return answer


def _state(reason: str | None) -> web.Response:
    return web.json_response({"ok": reason is None, "reason": reason}, status=503 if reason else 200)


def _may_see(request: web.Request, settings: HttpSettings) -> bool:
    """Return whether a request comes from this machine, and not through a proxy on it, or has the token."""
    forwarded = any(name in request.headers for name in ("Forwarded", "X-Forwarded-For"))
    local = request.remote in {"127.0.0.1", "::1"} and not forwarded
    return local or unauthorized(request, settings) is None


def _metrics(service: Service) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=exposition(service), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return answer


def problem(
    status: int,
    message: str,
    field: str | None = None,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] = {},
) -> web.Response:
    """Return an error as RFC 9457 says. `field` is the request's field that is wrong, if there is one."""
    details = ProblemDetails(
        title=HTTPStatus(status).phrase, status=status, detail=message, field=field, errors=list(errors)
    )
    return web.Response(
        body=msgspec.json.encode(details), status=status, content_type="application/problem+json", headers=headers
    )


def unauthorized(request: web.Request, settings: HttpSettings) -> web.Response | None:
    """Return the response to a request without the right bearer token, or None if the request has it."""
    if settings.http_token is None:
        return problem(403, "the API is off: set GSC_HTTP_TOKEN to allow requests")
    given = request.headers.get("Authorization", "")
    expected = f"Bearer {settings.http_token.get_secret_value()}"
    # aiohttp decodes headers with `surrogateescape`.
    if hmac.compare_digest(given.encode(errors="surrogateescape"), expected.encode()):
        return None
    challenge = {"WWW-Authenticate": "Bearer"}
    return problem(401, "the bearer token is missing or wrong", "Authorization", headers=challenge)
