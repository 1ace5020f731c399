"""When offsets and statuses are committed; time is an argument."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import pytest

from fetcher.assignment import Partitions
from fetcher.call_loop import CallLoop
from fetcher.commit_loop import REFRESH_EVERY_S, RENEW_EVERY_S, CommitLoop
from pipeline.contracts.messages import Control
from pipeline.contracts.partition_status import PartitionStatus, read_status
from pipeline.errors import Retryable
from pipeline.metrics import gauge
from support.examples import NOW, a_batch
from support.fetcher import CAPACITY, World, a_job, dead_letter_limits, held_partitions, no_catalog, page_calls
from support.wait import until

START = 1_000_000.0


@dataclass
class Setup:
    world: World
    partitions: Partitions
    loop: CommitLoop
    batch_ended: asyncio.Event

    async def commit(self, after_s: float) -> list[tuple[int, int]]:
        """Commit `after_s` seconds after the start; returns what was committed as (partition, offset)."""
        self.world.committed.clear()
        await self.loop.commit(START + after_s, NOW + timedelta(seconds=after_s))
        return [(commit.partition, commit.offset) for commit in self.world.committed]

    def status(self) -> PartitionStatus:
        """Return the status in the last commit."""
        status = read_status(self.world.committed[-1].metadata)
        assert status is not None
        return status


@pytest.fixture
def setup() -> Setup:
    world, partitions, batch_ended = World(), held_partitions(moment=START), asyncio.Event()
    world.lease_until = float("inf")
    calls = page_calls(world, partitions, CAPACITY)
    call_loop = CallLoop(world.ports(), partitions, calls, dead_letter_limits(5), batch_ended, no_catalog)
    return Setup(world, partitions, CommitLoop(world.ports(), partitions, call_loop, batch_ended, 10.0), batch_ended)


async def test_without_news_every_partition_is_committed_at_least_every_2_seconds(setup: Setup) -> None:
    assert await setup.commit(0.0) == [(0, 0)]
    assert await setup.commit(1.0) == []
    assert await setup.commit(1.9) == []
    assert await setup.commit(RENEW_EVERY_S) == [(0, 0)]
    assert await setup.commit(RENEW_EVERY_S + 0.1) == []


async def test_a_batch_that_is_done_is_committed_without_waiting_for_the_renewal(setup: Setup) -> None:
    job = a_job(setup.partitions)
    assert await setup.commit(0.0) == [(0, 0)]
    setup.partitions.assignment.mark_done(job)
    assert await setup.commit(0.1) == [(0, 1)]
    assert await setup.commit(0.2) == []


async def test_a_commit_with_news_does_not_postpone_the_renewal(setup: Setup) -> None:
    job = a_job(setup.partitions)
    assert await setup.commit(0.0) == [(0, 0)]
    setup.partitions.assignment.mark_done(job)
    assert await setup.commit(1.9) == [(0, 1)]
    assert await setup.commit(RENEW_EVERY_S) == [(0, 1)]


async def test_a_status_that_changes_is_committed_with_the_next_refresh(setup: Setup) -> None:
    a_job(setup.partitions)
    await setup.commit(0.0)
    assert setup.status().state == "OK"
    setup.world.backpressure.update(812)
    assert await setup.commit(0.1) == []
    assert await setup.commit(REFRESH_EVERY_S) == [(0, 0)]
    assert (setup.status().state, setup.status().at) == ("BACKPRESSURED", NOW + timedelta(seconds=REFRESH_EVERY_S))


async def test_a_commit_that_fails_is_repeated(setup: Setup) -> None:
    setup.world.kafka_fails()
    with pytest.raises(Retryable):
        await setup.commit(0.0)
    setup.world.kafka_error = None
    assert await setup.commit(0.1) == [(0, 0)]


async def test_the_status_of_a_halted_partition_is_committed_with_its_reason(setup: Setup) -> None:
    setup.world.halts.apply(Control(scope="all", state="halted", reason="broken", actor="a", at=NOW))
    await setup.commit(0.0)
    assert (setup.status().state, setup.status().reason) == ("HALTED", "all: broken")


async def test_the_rate_limits_of_credentials_and_the_busiest_property_are_metrics(setup: Setup) -> None:
    assert setup.partitions.limiter.wait(a_batch(), 0, START) == 0
    setup.partitions.limiter.take(a_batch(), 0, START)
    await setup.commit(0.0)
    assert gauge("gsc_calls_last_minute").labels("acme")._value.get() == 1
    assert gauge("gsc_property_calls_last_minute_max")._value.get() == 1


async def test_the_loop_commits_until_it_is_stopped_and_survives_a_failure(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fetcher.commit_loop.REFRESH_EVERY_S", 0.0)
    setup.world.kafka_fails()
    stop = asyncio.Event()
    running = asyncio.create_task(setup.loop.run(stop))
    job = a_job(setup.partitions)
    setup.partitions.assignment.mark_done(job)
    setup.batch_ended.set()
    await until(lambda: not setup.batch_ended.is_set(), 60, "a commit was tried")
    setup.world.kafka_error = None
    await until(lambda: bool(setup.world.committed), 60, "it is repeated")
    stop.set()
    await running
    assert setup.world.committed[-1].offset == 1
