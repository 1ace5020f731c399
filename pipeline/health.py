"""The HTTP server of a service: /live, /ready, /metrics, and the routes of an API."""

import hmac
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from pipeline.log import logger
from pipeline.metric_catalogue import Service
from pipeline.metrics import exposition
from pipeline.process import StartError
from pipeline.settings import HttpSettings

_log = logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Condition = Callable[[], str | None]
"""Return why a condition is not met, or None when it is."""


class HttpServer:
    """Serves probes, metrics and `routes` from `start` to `stop`."""

    def __init__(
        self,
        settings: HttpSettings,
        service: Service,
        *,
        not_ready: Condition,
        not_live: Condition = lambda: None,
        routes: Sequence[web.RouteDef] = (),
    ) -> None:
        self._settings = settings
        self._runner: web.AppRunner | None = None
        self._app = web.Application(client_max_size=1 << 20, middlewares=[_errors_as_json])
        self._app.add_routes(
            [
                web.get("/live", _probe(not_live)),
                web.get("/ready", _probe(not_ready)),
                web.get("/metrics", _metrics(service)),
                *routes,
            ]
        )

    async def start(self) -> int:
        """Listen; returns the port. Raises StartError when the address cannot be used."""
        # Without decompression a body with a wrong encoding is invalid JSON, not an internal error.
        runner = web.AppRunner(self._app, access_log=None, auto_decompress=False)
        await runner.setup()
        site = web.TCPSite(runner, self._settings.http_host, self._settings.http_port)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            address = f"{self._settings.http_host}:{self._settings.http_port}"
            raise StartError(f"GSC_HTTP_HOST, GSC_HTTP_PORT: cannot listen on {address}: {error.strerror}") from error
        self._runner = runner
        port: int = runner.addresses[0][1]
        _log.info("listening", port=port)
        return port

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Return aiohttp's own errors, such as an unknown path, as JSON too."""
    try:
        return await handler(request)
    except web.HTTPError as error:
        return problem(error.status, error.reason)


def _probe(condition: Condition) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        reason = condition()
        return web.json_response({"ok": reason is None, "reason": reason}, status=503 if reason else 200)

    return answer


def _metrics(service: Service) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=exposition(service), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return answer


def problem(status: int, message: str, field: str | None = None) -> web.Response:
    """Return an error as JSON, with the name of the invalid field, if any."""
    return web.json_response({"error": {"field": field, "message": message}}, status=status)


def unauthorized(request: web.Request, settings: HttpSettings) -> web.Response | None:
    """Return the answer to a request without the valid bearer token, or None when it has the token."""
    if settings.http_token is None:
        return problem(403, "requests are not accepted: GSC_HTTP_TOKEN is not set")
    given = request.headers.get("Authorization", "")
    expected = f"Bearer {settings.http_token.get_secret_value()}"
    # aiohttp decodes bytes that are not UTF-8 as surrogates.
    if hmac.compare_digest(given.encode(errors="surrogateescape"), expected.encode()):
        return None
    return problem(401, "the bearer token is missing or wrong", "Authorization")
