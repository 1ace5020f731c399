"""The timer of the retention: when it is due, and what it does. PostgreSQL is in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from pipeline.catalog import Catalog
from pipeline.errors import Retryable
from pipeline.postgres import Connection
from pipeline.retention import Deleted
from producer import retention_timer
from producer.retention_timer import RetentionTimer, seconds_until
from support.wait import until

CATALOG = cast("Catalog", object())


def test_the_next_time_is_in_pacific_time() -> None:
    summer = datetime(2026, 7, 1, 9, 0, tzinfo=UTC)  # 2:00 there
    assert seconds_until("0 3 * * *", summer) == 3600.0
    assert seconds_until("0 3 * * *", summer + timedelta(hours=1)) == 24 * 3600.0
    assert seconds_until("0 3 * * *", datetime(2026, 1, 1, 9, 0, tzinfo=UTC)) == 2 * 3600.0


class Database:
    """What was deleted, and errors of the next connections."""

    def __init__(self) -> None:
        self.errors: list[Retryable] = []
        self.deleted: list[object] = []

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        if self.errors:
            raise self.errors.pop()
        yield cast("Connection", None)

    async def delete_old(self, _: Connection, catalog: Catalog, __: object) -> Deleted:
        self.deleted.append(catalog)
        return Deleted()

    async def delete_superseded(self, _: Connection, days: int) -> int:
        self.deleted.append(days)
        return 0

    async def run_until(self, deletions: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Run a timer that is due all the time until it has made this number of deletions."""
        monkeypatch.setattr(retention_timer, "delete_old", self.delete_old)
        monkeypatch.setattr(retention_timer, "delete_superseded", self.delete_superseded)
        monkeypatch.setattr(retention_timer, "seconds_until", lambda *_: 0.001)
        stop = asyncio.Event()
        timer = RetentionTimer("0 3 * * *", self.connect, lambda: CATALOG, 30)
        task = asyncio.create_task(timer.run(stop, cast("Connection", None)))
        await until(lambda: len(self.deleted) >= deletions, 10, f"{deletions} deletions")
        stop.set()
        await task


async def test_it_deletes_at_every_time_by_the_catalog_in_force_and_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = Database()
    database.errors = [Retryable("away")]
    await database.run_until(4, monkeypatch)
    assert database.deleted[:4] == [CATALOG, 30, CATALOG, 30]


async def test_it_goes_on_when_all_attempts_of_a_day_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database()
    database.errors = [Retryable("away")]
    monkeypatch.setattr(retention_timer, "ATTEMPTS", 1)
    await database.run_until(2, monkeypatch)
    assert database.errors == []
