"""Planning accepted runs: whose turn it is, and what happens while PostgreSQL is away. The ledger is in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from pipeline.catalog import Catalog
from pipeline.contracts.messages import Priority, SyncRequest
from pipeline.errors import Retryable
from pipeline.ledger import runs
from pipeline.ledger.runs import UnplannedRun
from pipeline.metrics import exposition
from pipeline.postgres import Connection
from producer import plan_writer
from producer.plan_writer import PlanWriter, TenantRotation
from support.examples import DAY, NOW
from support.wait import until

REQUEST = SyncRequest(request_id="r", all_properties=True, start=DAY, end=DAY, requested_at=NOW)
NO_CATALOG = cast("Catalog", None)
NO_CONNECTION = cast("Connection", None)


def a_run(name: str, *credentials: str, priority: Priority = "backfill", age_s: float = 0.0) -> UnplannedRun:
    return UnplannedRun(name, 1, priority, frozenset(credentials), REQUEST, None, age_s)


def order(rotation: TenantRotation, *waiting: UnplannedRun, count: int) -> list[str]:
    return [rotation.next(waiting).run_id for _ in range(count)]


def test_daily_runs_are_planned_before_backfills() -> None:
    daily = a_run("daily", "b", priority="daily")
    assert order(TenantRotation(), a_run("backfill", "a"), daily, count=3) == ["daily"] * 3


def test_credentials_take_turns_and_the_runs_of_one_are_planned_in_order() -> None:
    first, second, other = a_run("a1", "a"), a_run("a2", "a"), a_run("b1", "b")
    rotation = TenantRotation()
    assert order(rotation, first, second, other, count=4) == ["a1", "b1", "a1", "b1"]
    assert order(rotation, second, other, count=2) == ["a2", "b1"]


def test_one_daily_run_of_a_credential_waits_for_one_chunk_of_another_with_many() -> None:
    many = [a_run(f"a{number}", "a", priority="daily") for number in range(100)]
    rotation = TenantRotation()
    assert order(rotation, *many, count=3) == ["a0"] * 3
    assert order(rotation, *many, a_run("b", "b", priority="daily"), count=1) == ["b"]


class Ledger:
    """Accepted runs; each needs one chunk."""

    def __init__(self, *waiting: UnplannedRun) -> None:
        self.waiting = list(waiting)
        self.errors: list[Retryable] = []
        self.planned: list[str] = []

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        yield NO_CONNECTION

    async def unplanned(self, _: Connection) -> list[UnplannedRun]:
        return list(self.waiting)

    async def write_chunk(self, _: Connection, run: UnplannedRun, __: Catalog) -> None:
        if self.errors:
            raise self.errors.pop()
        self.waiting.remove(run)
        self.planned.append(run.run_id)


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    ledger = Ledger(a_run("one", "a", age_s=7.0), a_run("two", "b", priority="daily", age_s=3.0))
    monkeypatch.setattr(runs, "unplanned", ledger.unplanned)
    monkeypatch.setattr(plan_writer, "write_chunk", ledger.write_chunk)
    monkeypatch.setattr(plan_writer, "RETRY_S", 0.001)
    return ledger


def oldest() -> dict[str, Any]:
    lines = exposition("producer").decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if line.startswith("gsc_oldest_unplanned_seconds{"))


async def test_every_accepted_run_is_planned_and_a_chunk_that_fails_is_written_again(ledger: Ledger) -> None:
    ledger.errors = [Retryable("away")]
    writer, stop = PlanWriter(ledger.connect, lambda: NO_CATALOG), asyncio.Event()
    task = asyncio.create_task(writer.run(stop, NO_CONNECTION))
    await until(lambda: ledger.planned == ["two", "one"], 60, "both are planned")
    ledger.waiting.append(a_run("three", "a"))
    writer.notify()
    await until(lambda: ledger.planned[2:] == ["three"], 60, "the third is planned")
    stop.set()
    await task
    assert oldest() == {}


def test_the_oldest_run_of_each_priority_is_exported() -> None:
    plan_writer.export_unplanned([a_run("one", "a", age_s=7.0), a_run("two", "b", age_s=9.0)])
    backfill, daily = (f'gsc_oldest_unplanned_seconds{{priority="{priority}"}}' for priority in ("backfill", "daily"))
    assert oldest() == {backfill: "9.0", daily: "0.0"}
    plan_writer.export_unplanned(())
    assert oldest() == {backfill: "0.0", daily: "0.0"}
