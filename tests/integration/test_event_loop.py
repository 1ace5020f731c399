"""A listener that is closed while clients connect leaves no connection open."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from lab.event_loop import close_listener
from lab.search_console.server import Simulator
from lab.search_console.settings import SimulatorSettings

CLIENTS = 10
Listener = tuple[int, Callable[[], Awaitable[None]]]
"""A port, and what closes it."""


async def a_simulator() -> Listener:
    simulator = Simulator(SimulatorSettings(sites=(), users=()))
    await simulator.start()
    return int(simulator.root.rpartition(":")[2]), simulator.stop


async def a_stream_server() -> Listener:
    async def wait(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            writer.close()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)

    async def close() -> None:
        await close_listener(server)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    return server.sockets[0].getsockname()[1], close


@asynccontextmanager
async def clients(port: int) -> AsyncIterator[list[socket.socket]]:
    """Connections that the kernel has accepted, and the loop has not: it does not run meanwhile."""
    opened = [socket.create_connection(("127.0.0.1", port)) for _ in range(CLIENTS)]
    try:
        yield opened
    finally:
        for client in opened:
            client.close()


def is_closed_by_server(client: socket.socket) -> bool:
    client.settimeout(20)
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("rounds", range(6))
@pytest.mark.parametrize("listen", [a_simulator, a_stream_server])
async def test_connections_that_arrive_as_a_listener_is_closed_are_closed(
    listen: Callable[[], Awaitable[Listener]], rounds: int
) -> None:
    """However far the loop has come with them: unclosed ones would be reported by gc."""
    port, close = await listen()
    async with clients(port) as opened:
        for _ in range(rounds):
            await asyncio.sleep(0)
        await close()
        assert [await asyncio.to_thread(is_closed_by_server, client) for client in opened] == [True] * CLIENTS
    gc.collect()
