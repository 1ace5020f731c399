"""The metrics of unfinished pages by credential. The ledger is in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from pipeline.contracts.records import UnfinishedPages
from pipeline.errors import Retryable
from pipeline.ledger import pages as ledger_pages
from pipeline.metrics import exposition
from pipeline.postgres import Connection
from producer import queue_metrics as queue_metrics_module
from producer.queue_metrics import QueueMetrics, export_unfinished
from support.wait import until

PAGES = [
    UnfinishedPages("a", "backfill", 300, 0, 90.0, ()),
    UnfinishedPages("a", "backfill", 5, 0, 60.0, ()),
    UnfinishedPages("a", "daily", 0, 7, 30.0, (1,)),
]
VALUES = {
    'gsc_pending_pages{credential="a"}': 305.0,
    'gsc_published_pages{credential="a"}': 7.0,
    'gsc_oldest_pending_seconds{credential="a",priority="backfill"}': 90.0,
    'gsc_oldest_pending_seconds{credential="a",priority="daily"}': 30.0,
}


def exported() -> dict[str, float]:
    lines = [line.rpartition(" ") for line in exposition("producer").decode().splitlines()]
    names = ("gsc_pending_pages{", "gsc_published_pages{", "gsc_oldest_pending_seconds{")
    return {series: float(value) for series, _, value in lines if series.startswith(names)}


def test_pages_are_summed_by_credential_and_finished_credentials_disappear() -> None:
    export_unfinished(PAGES)
    assert exported() == VALUES
    export_unfinished([UnfinishedPages("b", "daily", 1, 0, 2.0, ())])
    assert {series.split('"')[1] for series in exported()} == {"b"}
    export_unfinished([])
    assert exported() == {}


async def test_values_are_removed_while_the_ledger_is_away_and_when_the_leader_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors: list[Retryable] = []

    @asynccontextmanager
    async def connect() -> AsyncIterator[Connection]:
        if errors:
            raise errors[0]
        yield cast("Connection", None)

    async def unfinished(_: Connection) -> list[UnfinishedPages]:
        return PAGES

    monkeypatch.setattr(ledger_pages, "unfinished", unfinished)
    monkeypatch.setattr(queue_metrics_module, "EXPORT_EVERY_S", 0.001)
    task = asyncio.create_task(QueueMetrics(connect).run(asyncio.Event(), cast("Connection", None)))
    await until(lambda: exported() == VALUES, 60, "values are exported")
    errors.append(Retryable("PostgreSQL is away"))
    await until(lambda: exported() == {}, 60, "values are removed")
    errors.clear()
    await until(lambda: exported() == VALUES, 60, "values are back")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert exported() == {}
