"""The metrics of the ledger: what is exported, and when values are removed. The ledger is in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

import pytest

from pipeline.consumer_lag import Lag
from pipeline.contracts.halts import Halts
from pipeline.contracts.messages import Control
from pipeline.contracts.records import PartitionLag, UnfinishedPages
from pipeline.errors import Retryable
from pipeline.ledger import days, pages
from pipeline.ledger.days import DayCounts, NewestAges
from pipeline.metrics import clear_gauges, exposition
from pipeline.postgres import Connection
from producer import ledger_metrics as module
from producer.credential_waits import Queue
from producer.ledger_metrics import (
    GAUGES,
    CompletionRate,
    LedgerMetrics,
    MetricSources,
    export_halted,
    export_queue,
    seconds_at_quota,
)
from support.examples import NOW
from support.wait import until

PAGES = [
    UnfinishedPages("a", "backfill", 300, 0, 90.0, (), "run-1", 0),
    UnfinishedPages("a", "backfill", 5, 0, 60.0, (), "run-2", 0),
    UnfinishedPages("a", "daily", 0, 7, 30.0, (1,), "run-3", 0),
]
BY_CREDENTIAL = {
    'gsc_pending_pages{credential="a"}': 305.0,
    'gsc_published_pages{credential="a"}': 7.0,
    'gsc_unfinished_pages{credential="a"}': 312.0,
    'gsc_oldest_pending_seconds{credential="a",priority="backfill"}': 90.0,
    'gsc_oldest_pending_seconds{credential="a",priority="daily"}': 30.0,
}
LATER = NOW + timedelta(hours=1)


def halt(scope: str, **changes: Any) -> Control:
    return Control(scope=scope, state="halted", reason="r", actor="a", at=NOW, **changes)


def a_queue(unfinished: list[UnfinishedPages], *halts: Control) -> Queue:
    return Queue([], unfinished, halts, {"a": "project-a", "b": "project-b"}, {}, 1000, has_leader=True)


def exported(*names: str) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in exposition("producer").decode().splitlines()]
    return {series: float(value) for series, _, value in lines if series.partition("{")[0] in names}


@pytest.fixture(autouse=True)
def no_values() -> Iterator[None]:
    yield
    clear_gauges([*GAUGES, "gsc_credential_halted"])


def test_pages_are_summed_by_credential_and_finished_credentials_disappear() -> None:
    export_queue(a_queue(PAGES))
    assert exported(*GAUGES[:4]) == BY_CREDENTIAL
    export_queue(a_queue([UnfinishedPages("b", "daily", 1, 0, 2.0, (), "run-1", 0)]))
    assert {series.split('"')[1] for series in exported("gsc_pending_pages", "gsc_published_pages")} == {"b"}
    export_queue(a_queue([]))
    assert exported(*GAUGES[:6]) == {}


def test_what_the_pages_of_a_credential_wait_for_is_exported_with_its_end() -> None:
    names = ("gsc_credential_waiting", "gsc_credential_wait_end_timestamp_seconds")
    export_queue(a_queue(PAGES, halt("credential:a", until=LATER)))
    assert exported(*names) == {
        'gsc_credential_waiting{credential="a",kind="halted"}': 1.0,
        'gsc_credential_wait_end_timestamp_seconds{credential="a"}': LATER.timestamp(),
    }
    export_queue(a_queue(PAGES))
    assert exported(*names) == {}


def test_a_halted_credential_is_named_with_its_cause_whatever_scope_holds_it() -> None:
    halts, projects = Halts(), {"a": "project-a", "b": "project-b"}
    halts.apply(halt("credential:a", cause="permission"))
    export_halted(halts, projects)
    assert exported("gsc_credential_halted") == {'gsc_credential_halted{cause="permission",credential="a"}': 1.0}
    halts.apply(halt("project:project-b"))
    halts.forget("credential:a")
    export_halted(halts, projects)
    assert exported("gsc_credential_halted") == {'gsc_credential_halted{cause="operator",credential="b"}': 1.0}
    halts.apply(halt("all"))
    export_halted(halts, projects)
    assert len(exported("gsc_credential_halted")) == 2


class Ledger:
    """A ledger that counts at once, fails, or hangs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.errors: list[Retryable] = []
        self.counts = 0
        self.may_count = asyncio.Event()
        self.may_count.set()
        self.halts = Halts()
        for module_, name, result in (
            (pages, "pending_groups", []),
            (pages, "unfinished", PAGES),
            (pages, "count_by_state", {"pending": 305, "published": 7, "applied": 1}),
            (days, "count", DayCounts(complete=3)),
            (days, "newest_ages", NewestAges(4, 3)),
            (module, "has_leader", True),
        ):
            monkeypatch.setattr(module_, name, self.returning(result))

    def returning(self, result: object) -> Any:
        async def read(*_: object) -> object:
            return result

        return read

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        if self.errors:
            raise self.errors[0]
        await self.may_count.wait()
        self.counts += 1
        yield cast("Connection", None)

    async def read(self) -> dict[int, PartitionLag]:
        return {1: PartitionLag(5, 9, 4)}

    def metrics(self) -> LedgerMetrics:
        sources = MetricSources(cast("Lag", self), self.halts, lambda: {"a": "p"}, 1000, lambda _: 60.0)
        return LedgerMetrics(self.connect, sources)


@asynccontextmanager
async def running(metrics: LedgerMetrics) -> AsyncIterator[None]:
    task = asyncio.create_task(metrics.run(asyncio.Event(), cast("Connection", None)))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_values_are_removed_when_the_ledger_is_away_or_hangs_and_when_the_leader_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = Ledger(monkeypatch)
    monkeypatch.setattr(module, "EXPORT_EVERY_S", 0.001)
    monkeypatch.setattr(module, "FRESH_S", 0.05)
    async with running(ledger.metrics()):
        troubles: list[tuple[Callable[[], None], Callable[[], None]]] = [
            (lambda: ledger.errors.append(Retryable("away")), ledger.errors.clear),
            (ledger.may_count.clear, ledger.may_count.set),
        ]
        for fail, recover in troubles:
            await until(lambda: len(exported(*GAUGES)) > len(BY_CREDENTIAL), 5, "values are exported")
            fail()
            await until(lambda: exported(*GAUGES) == {}, 5, "values are removed")
            recover()
        await until(lambda: exported(*GAUGES) != {}, 5, "values are back")
    assert exported(*GAUGES) == {}


async def test_the_remaining_time_is_that_of_pages_that_no_halt_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(monkeypatch)
    metrics = ledger.metrics()
    await metrics.export()
    assert exported("gsc_drain_seconds")['gsc_drain_seconds{pace="quota"}'] == 312.0
    ledger.halts.apply(halt("credential:a"))
    await metrics.export()
    assert set(exported("gsc_drain_seconds").values()) == {0.0}


def test_the_time_left_follows_the_pace_of_the_last_minute() -> None:
    pace = CompletionRate()
    assert pace.seconds_left(0.0, 100, 50) == float("inf")
    assert pace.seconds_left(10.0, 200, 50) == 5.0
    assert pace.seconds_left(20.0, 200, 0) == 0.0
    for number in range(3, 20):
        left = pace.seconds_left(10.0 * number, 200, 30)
    assert left == float("inf")  # no page was applied in the last minute


def test_the_time_left_at_the_quota_is_that_of_the_slowest_credential() -> None:
    assert seconds_at_quota({"a": 960, "b": 240}, {"a": 960.0, "b": 120.0}.__getitem__) == 120.0
    assert seconds_at_quota({}, lambda _: 1.0) == 0.0
