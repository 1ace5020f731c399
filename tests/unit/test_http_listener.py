"""The bound on connections, and connections that send nothing."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web

from pipeline import health as health_module
from pipeline import http_listener
from pipeline.health import HttpServer
from pipeline.http_listener import Connections
from pipeline.settings import HttpSettings

SETTINGS = HttpSettings(http_host="127.0.0.1", http_port=0)


class Transport(asyncio.Transport):
    aborted = False

    def abort(self) -> None:
        self.aborted = True


class Handler:
    def __init__(self) -> None:
        self.transport: Transport | None = Transport()


def added(connections: Connections, count: int) -> list[Any]:
    handlers = [Handler() for _ in range(count)]
    for handler in handlers:
        connections.add(handler)  # type: ignore[arg-type]
    return handlers


def aborted(handlers: list[Any]) -> list[bool]:
    return [handler.transport.aborted for handler in handlers]


def test_beyond_the_limit_the_oldest_connection_without_a_request_is_closed() -> None:
    connections = Connections(3)
    handlers = added(connections, 3)
    connections.mark_requested(handlers[0])
    added(connections, 1)
    assert aborted(handlers) == [False, True, False]


def test_when_all_have_sent_requests_the_oldest_is_closed() -> None:
    connections = Connections(2)
    handlers = added(connections, 2)
    for handler in handlers:
        connections.mark_requested(handler)
    added(connections, 1)
    assert aborted(handlers) == [True, False]


def test_connections_that_have_ended_do_not_count() -> None:
    connections = Connections(2)
    ended, other = added(connections, 2)
    ended.transport = None
    added(connections, 1)
    assert not other.transport.aborted


def test_a_connection_without_a_request_is_closed_and_one_with_a_request_stays() -> None:
    connections = Connections(2)
    silent, busy = added(connections, 2)
    connections.mark_requested(busy)
    for handler in (silent, busy):
        connections.close_silent(handler)
    assert aborted([silent, busy]) == [True, False]


async def test_the_server_closes_a_connection_that_sends_half_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_listener, "HEADER_S", 0.1)
    server = HttpServer(SETTINGS, "sink", not_ready=lambda: None)
    port = await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /live HTTP/1.1\r\nHost:")
    try:
        async with asyncio.timeout(10):
            with suppress(ConnectionError):
                assert await reader.read() == b""
    finally:
        writer.close()
        await server.stop()


async def test_a_request_whose_body_does_not_arrive_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "REQUEST_S", 0.1)

    async def read_body(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    server = HttpServer(SETTINGS, "sink", not_ready=lambda: None, routes=[web.post("/body", read_body)])
    port = await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
    try:
        async with asyncio.timeout(10):
            assert (await reader.readline()).startswith(b"HTTP/1.1 503")
    finally:
        writer.close()
        await server.stop()
