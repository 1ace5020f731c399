"""A server of HTTP/2 over TLS, behind a wire that can be cut."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config

from lab.certificates import Certificates
from lab.processes import free_port
from support.wait import until

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Http2Server:
    """Answers every query with the same page, but only once `together` of them are there."""

    def __init__(self, page: dict[str, Any], together: int) -> None:
        self._body = json.dumps(page).encode()
        self.together = together
        self._all_there = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []
        self._joined = 0
        self._port = free_port()
        self.root = ""
        self.calls: list[tuple[str, Any]] = []
        """The protocol of each call, and where its connection comes from."""

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """An ASGI application."""
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        self.calls.append((scope["http_version"], scope["client"]))
        if len(self.calls) >= self.together:
            self._all_there.set()
        await self._all_there.wait()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})

    def reset(self) -> None:
        """Cut every connection, as a router that forgets them does."""
        for writer in self._writers:
            if writer.transport.is_closing():
                continue
            wire: socket.socket = writer.get_extra_info("socket")
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            writer.transport.abort()
        self._writers.clear()

    @asynccontextmanager
    async def running(self, certificates: Certificates) -> AsyncIterator[None]:
        config = Config()
        config.bind = [f"127.0.0.1:{self._port}"]
        config.certfile, config.keyfile = str(certificates.certificate), str(certificates.key)
        config.errorlog = None
        stop = asyncio.Event()
        serving = asyncio.create_task(serve(self.app, config, shutdown_trigger=stop.wait))  # type: ignore[arg-type]
        wire = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.root = f"https://localhost:{wire.sockets[0].getsockname()[1]}"
        try:
            await until(self._listens, 60, "the server listens")
            yield
        finally:
            wire.close()
            self.reset()
            await until(lambda: not self._joined, 60, "every connection is closed")
            stop.set()
            await asyncio.wait_for(serving, 20)

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        writer.close()
        return True

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, back]
        self._joined += 1
        await asyncio.gather(_copy(reader, back), _copy(there, writer), return_exceptions=True)
        self._joined -= 1


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()
