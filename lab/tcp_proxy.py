"""A TCP proxy that can go silent: it accepts what a client sends, as a network device would, and forwards nothing."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lab.event_loop import close_listener, loop_in_thread

_CHUNK = 65536
_DEADLINE_S = 60.0


class TcpProxy:
    """Forwards connections to one port of this machine. Its methods may be called from any thread."""

    def __init__(self, target: int, port: int, loop: asyncio.AbstractEventLoop) -> None:
        self.port = port
        """The port to connect to."""
        self._target = target
        self._loop = loop
        self._gates: set[asyncio.Event] = set()
        self._accepts = True

    def freeze_open(self) -> None:
        """Forward nothing more of the connections that are open now, not even their end; new ones work."""
        self._loop.call_soon_threadsafe(self._close_gates)

    def freeze_all(self) -> None:
        """Forward nothing more, of new connections neither."""
        self._loop.call_soon_threadsafe(self._close_gates, False)

    def resume(self) -> None:
        """Forward everything again, first what was sent meanwhile."""
        self._loop.call_soon_threadsafe(self._open_gates)

    def _close_gates(self, accepts: bool = True) -> None:
        self._accepts = accepts
        for gate in self._gates:
            gate.clear()

    def _open_gates(self) -> None:
        self._accepts = True
        for gate in self._gates:
            gate.set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection until either side ends it."""
        gate = asyncio.Event()
        if self._accepts:
            gate.set()
        self._gates.add(gate)
        try:
            with suppress(OSError, asyncio.CancelledError):  # streams report a handler that ends as cancelled
                await gate.wait()
                await self._forward(reader, writer, gate)
        finally:
            self._gates.discard(gate)
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        pumps = [
            asyncio.create_task(_pump(reader, to_server, gate)),
            asyncio.create_task(_pump(from_server, writer, gate)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            to_server.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event) -> None:
    """Forward one direction until its end."""
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            await gate.wait()
            writer.write(data)
            await writer.drain()
        await gate.wait()


@contextmanager
def running_proxy(target: int, port: int = 0) -> Iterator[TcpProxy]:
    """Forward `port` (0: any free one) to the port `target` of this machine for the length of the block."""
    with socket.create_server(("127.0.0.1", port)) as listener, loop_in_thread("tcp-proxy") as loop:
        proxy = TcpProxy(target, listener.getsockname()[1], loop)
        starting = asyncio.start_server(proxy.handle, sock=listener)
        server = asyncio.run_coroutine_threadsafe(starting, loop).result(_DEADLINE_S)
        try:
            yield proxy
        finally:
            asyncio.run_coroutine_threadsafe(close_listener(server), loop).result(_DEADLINE_S)
