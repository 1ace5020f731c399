"""A connection pooler in front of PostgreSQL: by session it works, by transaction it is refused."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import chain, cycle, repeat
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline import postgres, startup_checks
from pipeline.postgres import Connection, is_pooled
from pipeline.process import StartError
from pipeline.settings import PostgresSettings
from pipeline.startup_checks import require_schema

POOLER = 99
"""The process id that a pooler gives its clients."""


class FakeConnection:
    """A connection whose statements run in these processes of the server, one after the other."""

    def __init__(self, given: int, processes: Iterator[int]) -> None:
        self.info = SimpleNamespace(backend_pid=given)
        self._processes = processes
        self.statements = 0

    async def execute(self, _: str, **__: Any) -> "FakeConnection":
        self.statements += 1
        return self

    async def fetchone(self) -> tuple[int]:
        return (next(self._processes),)


def opening(monkeypatch: pytest.MonkeyPatch, *connections: FakeConnection) -> PostgresSettings:
    waiting = iter(connections)

    @asynccontextmanager
    async def connection(_: str, **__: str) -> AsyncIterator[FakeConnection]:
        yield next(waiting)

    async def no_missing_migrations(_: Connection) -> list[str]:
        return []

    for module in (postgres, startup_checks):
        monkeypatch.setattr(module, "connection", connection)
    monkeypatch.setattr(startup_checks, "missing_migrations", no_missing_migrations)
    return PostgresSettings(postgres_dsn="postgresql://x")


async def test_a_direct_connection_is_not_pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    direct = FakeConnection(7, repeat(7))
    assert not await is_pooled(cast("Connection", direct))
    await require_schema(opening(monkeypatch, direct), "test")


async def test_a_pooler_by_session_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    connections = FakeConnection(POOLER, repeat(1)), FakeConnection(POOLER, repeat(2))
    await require_schema(opening(monkeypatch, *connections), "test")
    assert all(connection.statements for connection in connections)


@pytest.mark.parametrize(
    "processes",
    [
        lambda: (repeat(1), repeat(1)),  # the session that was released last
        lambda: (cycle([1, 2]), cycle([2, 1])),  # the sessions in turn
        lambda: (chain([1, 1], repeat(3)), repeat(2)),
    ],
)
async def test_a_pooler_by_transaction_is_refused(
    monkeypatch: pytest.MonkeyPatch, processes: Callable[[], tuple[Iterator[int], Iterator[int]]]
) -> None:
    settings = opening(monkeypatch, *(FakeConnection(POOLER, own) for own in processes()))
    with pytest.raises(StartError, match="pool_mode = session"):
        await require_schema(settings, "test")
