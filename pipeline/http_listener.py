"""Accepts the connections of an HTTP server, a bounded number of them, and none that stays silent.

aiohttp and asyncio accept without a limit, wait for ever for the first request, and log a failed accept a hundred times
at once. Then whoever opens connections takes the file descriptors that the service needs for its servers.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from pipeline.clock import monotonic
from pipeline.log import logger

MAX_CONNECTIONS = 200
HEADER_S = 10.0
"""Time that a client has for its first request."""
ACCEPT_PAUSE_S = 0.5
LOG_EVERY_S = 10.0
_log = logger(__name__)


class Connections:
    """The open connections, the oldest first. A new one beyond the limit closes one, rather one without a request."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._requested: dict[RequestHandler, bool] = {}
        """Whether the connection has sent a whole request."""

    def add(self, handler: RequestHandler) -> None:
        """Add a new connection."""
        self._requested = {item: value for item, value in self._requested.items() if item.transport is not None}
        while len(self._requested) >= self._limit:
            self.close_one()
        self._requested[handler] = False

    def mark_requested(self, handler: RequestHandler) -> None:
        """Record that a connection has sent a request."""
        if handler in self._requested:
            self._requested[handler] = True

    def close_one(self) -> None:
        """Close the oldest connection without a request, or else the oldest."""
        if self._requested:
            self._close(min(self._requested, key=lambda handler: self._requested[handler]))

    def close_silent(self, handler: RequestHandler) -> None:
        """Close a connection if it has sent no request."""
        if self._requested.get(handler) is False:
            self._close(handler)

    def _close(self, handler: RequestHandler) -> None:
        del self._requested[handler]
        if isinstance(handler.transport, asyncio.Transport):
            handler.transport.abort()


class Listener:
    """Accepts connections for a server on one socket."""

    def __init__(self, server: web.Server, listening: socket.socket, connections: Connections) -> None:
        self._server = server
        self._socket = listening
        self._connections = connections
        self._failures = 0
        self._log_after = float("-inf")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Accept connections for the length of a block; then close the socket."""
        task = asyncio.create_task(self._accept())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._socket.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(self._socket)
            except OSError as error:  # such as too many open files
                self._connections.close_one()
                self._log_failure(error, monotonic())
                await asyncio.sleep(ACCEPT_PAUSE_S)
            else:
                with suppress(OSError):  # the client has gone
                    await self._serve(accepted)

    async def _serve(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        handler: RequestHandler = self._server()
        self._connections.add(handler)
        await loop.connect_accepted_socket(lambda: handler, accepted)
        loop.call_later(HEADER_S, self._connections.close_silent, handler)

    def _log_failure(self, error: OSError, now: float) -> None:
        self._failures += 1
        if now >= self._log_after:
            _log.error("accept_failed", error=str(error), failures=self._failures)
            self._failures, self._log_after = 0, now + LOG_EVERY_S


async def open_sockets(host: str, port: int) -> Sequence[socket.socket]:
    """Listen on every address of the host. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    opened: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            opened.append(socket.create_server(address, family=family, backlog=128))
            opened[-1].setblocking(False)
    except OSError:
        for listening in opened:
            listening.close()
        raise
    return opened
