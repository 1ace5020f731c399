"""Which batch is started, and what its outcome does to queue, offset and dead-letter limit."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import pytest

from fetcher import rate_limiter
from fetcher.assignment import Partitions
from fetcher.call_loop import CallLoop, LoopWait
from fetcher.outcome import Dead, Done, HaltOrder, Outcome, Retry
from fetcher.page_call import SOON_S
from fetcher.quota_limits import QuotaLimits
from fetcher.schedule import Job
from fetcher.settings import Capacity
from pipeline.clock import monotonic
from pipeline.contracts import codec
from pipeline.contracts.messages import Control
from pipeline.contracts.records import Record
from pipeline.errors import Fatal
from pipeline.metrics import counter
from support.examples import NOW, a_batch
from support.fetcher import (
    CAPACITY,
    EMPTY_PAGE,
    UNLIMITED,
    World,
    a_job,
    a_record,
    dead_letter_limits,
    held_partitions,
    no_catalog,
    page_calls,
)
from support.wait import until


@dataclass
class Setup:
    world: World
    partitions: Partitions
    loop: CallLoop
    batch_ended: asyncio.Event

    def queue(self, number: int = 0) -> Job:
        job = a_job(self.partitions, number)
        assert self.partitions.schedule.add(job, monotonic())
        return job

    def in_flight(self) -> int:
        """Return the number of records that are not done."""
        return self.partitions.assignment.progress(0, 0.0).in_flight


def a_setup(*, capacity: Capacity = CAPACITY, limits: QuotaLimits = UNLIMITED, dead_letter_limit: int = 100) -> Setup:
    world, partitions, batch_ended = World(), held_partitions(limits), asyncio.Event()
    world.may_answer.set()
    calls = page_calls(world, partitions, capacity)
    limit = dead_letter_limits(dead_letter_limit)
    return Setup(
        world, partitions, CallLoop(world.ports(), partitions, calls, limit, batch_ended, no_catalog), batch_ended
    )


def halt_everything(world: World) -> None:
    world.halts.apply(Control(scope="all", state="halted", reason="r", actor="a", at=NOW))


async def test_no_call_starts_without_control_topic_or_lease_or_while_the_sink_is_behind() -> None:
    setup = a_setup()
    setup.queue()
    changes: list[tuple[str, Any]] = [("control_is_readable", False), ("lease_until", 0.0)]
    for (name, value), reason in zip(changes, ("control", "lease"), strict=True):
        usual = getattr(setup.world, name)
        setattr(setup.world, name, value)
        assert setup.loop.start_calls() == LoopWait(SOON_S, reason)
        setattr(setup.world, name, usual)
    setup.world.backpressure.update(800)
    assert setup.loop.start_calls() == LoopWait(SOON_S, "backpressure")
    assert len(setup.partitions.schedule) == 1


async def test_no_more_calls_start_than_the_capacity_allows() -> None:
    setup = a_setup(capacity=replace(CAPACITY, max_concurrency=2))
    for number in range(3):
        setup.queue(number)
    wait = setup.loop.start_calls()
    assert wait.reason == "concurrency"
    assert wait.seconds <= SOON_S
    assert len(setup.partitions.schedule) == 1
    await setup.loop.drain([0], 5)


def queue_batch(setup: Setup, offset: int, property_: str, credential: str) -> None:
    batch = a_batch(property=property_, credential=credential, start_row=offset)
    record = Record("gsc.batches", 0, offset, b"", codec.encode(batch), 0)
    assert setup.partitions.assignment.start(record)
    assert setup.partitions.schedule.add(Job(batch, 0, offset), monotonic())


async def test_calls_that_hang_keep_only_the_slots_of_their_credential() -> None:
    setup = a_setup(capacity=replace(CAPACITY, max_concurrency=4))
    setup.world.may_answer.clear()
    for offset in range(10):
        queue_batch(setup, offset, f"sc-domain:p{offset}.com", "hanging")
    setup.loop.start_calls()
    for offset in range(10, 13):
        queue_batch(setup, offset, f"sc-domain:p{offset}.com", "other")
    wait = setup.loop.start_calls()
    await until(lambda: setup.world.in_flight == 7, 60, "both credentials call")
    assert [batch.credential for batch in setup.world.calls] == ["hanging"] * 4 + ["other"] * 3
    assert wait.reason == "concurrency"
    await setup.loop.drain([0], 0.0)


async def test_a_property_whose_calls_hang_leaves_half_of_the_slots_to_the_others_of_its_credential() -> None:
    setup = a_setup(capacity=replace(CAPACITY, max_concurrency=4))
    setup.world.may_answer.clear()
    for offset in range(10):
        queue_batch(setup, offset, "sc-domain:hanging.com", "acme")
    for offset in range(10, 12):
        queue_batch(setup, offset, "sc-domain:other.com", "acme")
    setup.loop.start_calls()
    await until(lambda: setup.world.in_flight == 4, 60, "every slot is taken")
    properties = [batch.property for batch in setup.world.calls]
    assert sorted(properties) == ["sc-domain:hanging.com"] * 2 + ["sc-domain:other.com"] * 2
    await setup.loop.drain([0], 0.0)


async def test_the_reason_of_a_wait_is_what_the_next_call_waits_for() -> None:
    setup = a_setup(limits=QuotaLimits(1200, 61 + 8, 10**7, 1.0, 8))  # one token a second for the credential
    assert setup.loop.start_calls() == LoopWait(float("inf"), "idle")
    for number in range(9):
        setup.queue(number)
    wait = setup.loop.start_calls()
    assert wait.reason == "tokens"
    assert 0 < wait.seconds <= 1
    setup.partitions.schedule.revoked([0])
    assert setup.loop.start_calls().reason == "http"
    await setup.loop.drain([0], 5)


async def test_a_page_that_was_fetched_is_done() -> None:
    setup = a_setup()
    setup.queue()
    setup.loop.start_calls()
    assert setup.partitions.assignment.uncommitted_calls == 1
    await setup.loop.drain([0], 5)
    assert setup.in_flight() == 0
    assert setup.batch_ended.is_set()


async def test_a_retry_is_queued_again_with_its_delay() -> None:
    setup = a_setup()
    setup.world.outcome = Retry("quota", after_s=30.0, counts=False, throttled="property")
    job = setup.queue()
    setup.loop.start_calls()
    before = monotonic()
    await setup.loop.drain([0], 5)
    assert len(setup.partitions.schedule) == 1
    assert before + 30 <= job.not_before <= monotonic() + 30
    assert setup.loop.start_calls().seconds > 29
    assert setup.in_flight() == 1
    assert not setup.batch_ended.is_set()


async def test_a_halted_batch_is_deferred_without_a_call_or_a_token() -> None:
    setup = a_setup()
    halt_everything(setup.world)
    job = setup.queue()
    setup.loop.start_calls()
    await setup.loop.drain([0], 5)
    assert setup.world.calls == []
    assert [reading.calls for reading in setup.partitions.limiter.readings(0.0)] == [0]  # of the project
    assert [outcome.state for outcome in setup.world.outcomes()] == ["deferred"]
    assert setup.in_flight() == 0
    assert setup.partitions.schedule.add(job, monotonic())  # it may be published again under its id


async def test_a_dead_batch_is_done_and_may_be_redriven_under_its_id() -> None:
    setup = a_setup()
    setup.world.outcome = Dead("bad_request", "no")
    job = setup.queue()
    setup.loop.start_calls()
    await setup.loop.drain([0], 5)
    assert setup.in_flight() == 0
    assert setup.batch_ended.is_set()
    assert setup.partitions.schedule.add(job, monotonic())


def properties(count: int) -> list[str]:
    return [f"sc-domain:p{number}.com" for number in range(count)]


async def call_one_by_one(setup: Setup, urls: list[str]) -> None:
    """Queue a page of each of these properties, and call it before the next one."""
    for offset, url in enumerate(urls):
        queue_batch(setup, offset, url, "acme")
        setup.loop.start_calls()
        await setup.loop.drain([0], 5)
    setup.loop._tasks.check()  # raises nothing


async def test_the_dead_letters_of_a_property_halt_only_the_property() -> None:
    setup = a_setup(dead_letter_limit=20)  # two for a property
    setup.world.outcome = Dead("bad_request", "no")
    await call_one_by_one(setup, ["sc-domain:poison.com"] * 3 + properties(1))
    [halt] = setup.world.controls()
    assert (halt.scope, halt.cause, halt.until) == ("property:sc-domain:poison.com", "dead_letters", None)
    assert halt.reason.startswith(
        "2 of the last 2 messages of property sc-domain:poison.com are dead letters, the last one: bad_request: no"
    )
    assert "then resume it" in halt.reason
    assert [outcome.state for outcome in setup.world.outcomes()] == ["dead", "dead", "deferred", "dead"]

    batch = a_batch(property="sc-domain:poison.com", start_row=1)
    job = Job(batch, 0, 4)
    assert setup.partitions.assignment.start(Record("gsc.batches", 0, 4, b"", codec.encode(batch), 0))
    setup.loop.reject(job, Dead("unknown_property", "no such property"))
    await setup.loop.drain([0], 5)
    assert [outcome.state for outcome in setup.world.outcomes()][4:] == ["deferred"]


async def test_the_dead_letters_of_several_properties_halt_their_credential() -> None:
    setup = a_setup(dead_letter_limit=20)
    setup.world.outcome = Dead("bad_request", "no")
    await call_one_by_one(setup, ["sc-domain:poison.com"] * 40 + properties(20))
    assert [halt.scope for halt in setup.world.controls()] == ["property:sc-domain:poison.com", "credential:acme"]
    reason = setup.world.controls()[-1].reason
    assert "20 of the last 20 messages of credential acme are dead letters" in reason


async def test_properties_without_permission_are_halted_and_reach_no_limit() -> None:
    setup = a_setup(dead_letter_limit=2)
    for offset, url in enumerate(properties(40)):
        lost = Dead("permission", "no", HaltOrder("property", "permission", "no"))
        setup.world.outcome = lost if offset % 2 else Done(EMPTY_PAGE)
        queue_batch(setup, offset, url, "acme")
        setup.loop.start_calls()
        await setup.loop.drain([0], 5)
    setup.loop._tasks.check()  # raises nothing
    assert [halt.scope for halt in setup.world.controls()] == [f"property:{url}" for url in properties(40)[1::2]]


async def test_too_many_undecodable_messages_stop_the_loop() -> None:
    setup = a_setup(dead_letter_limit=2)
    for number in range(2):
        setup.loop.reject_record(a_record(number), "not JSON")
    with pytest.raises(Fatal, match=r"2 of the last 2 messages of partition 0 are dead letters.*undecodable: not JSON"):
        await setup.loop.run(asyncio.Event())


async def test_pages_that_were_fetched_keep_occasional_dead_letters_below_the_limit() -> None:
    setup = a_setup(dead_letter_limit=2)  # of the last 4 messages
    outcomes: list[Outcome] = [Dead("bad_request", "no"), *[Done(EMPTY_PAGE)] * 3, Dead("bad_request", "no")]
    for number, outcome in enumerate(outcomes):
        setup.world.outcome = outcome
        setup.queue(number)
        setup.loop.start_calls()
        await setup.loop.drain([0], 5)
    setup.loop._tasks.check()  # raises nothing
    assert setup.world.controls() == []
    assert len(setup.world.on("gsc.dead-letters")) == 2


async def test_records_and_batches_that_are_rejected_are_dead_lettered_once_kafka_is_reachable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fetcher.call_loop.BROKER_PAUSE_S", 0.0)
    setup = a_setup()
    setup.world.kafka_fails()
    record = a_record(0)
    setup.partitions.assignment.start(record)
    setup.loop.reject_record(record, "not JSON")
    setup.loop.reject(a_job(setup.partitions, 1), Dead("unknown_property", "no such property"))
    assert setup.loop.start_calls().reason == "publishing"
    setup.world.kafka_error = None
    await until(lambda: setup.in_flight() == 0, 60, "both are done")
    assert len(setup.world.on("gsc.dead-letters")) == 2
    assert [outcome.reason for outcome in setup.world.outcomes()] == ["unknown_property"]


async def test_a_probe_of_a_budget_delays_the_other_batches_of_its_scope() -> None:
    setup = a_setup()
    setup.world.halts.apply(
        Control(scope="credential:acme", state="halted", reason="r", actor="a", at=NOW, until=NOW, cause="budget")
    )
    setup.world.may_answer.clear()
    setup.queue(0)
    setup.queue(1)
    assert setup.loop.start_calls() == LoopWait(SOON_S, "tokens")
    setup.world.may_answer.set()
    await setup.loop.drain([0], 5)
    assert len(setup.partitions.schedule) == 1
    setup.loop.start_calls()
    await setup.loop.drain([0], 5)
    assert len(setup.world.results()) == 2


async def test_a_batch_that_waits_for_a_retry_is_deferred_when_its_scope_is_halted() -> None:
    setup = a_setup()
    setup.world.outcome = Retry("quota", after_s=600.0, counts=False)
    setup.queue()
    setup.loop.start_calls()
    await setup.loop.drain([0], 5)
    assert setup.loop.start_calls().seconds > 500
    setup.world.halts.apply(Control(scope="run:run-1", state="halted", reason="r", actor="a", at=NOW))
    setup.loop.halts_changed()
    setup.loop.start_calls()
    await setup.loop.drain([0], 5)
    assert [outcome.state for outcome in setup.world.outcomes()] == ["deferred"]


async def test_a_drain_cancels_calls_that_take_longer_and_queues_nothing() -> None:
    setup = a_setup()
    setup.world.may_answer.clear()
    setup.queue()
    setup.loop.start_calls()
    await until(lambda: setup.world.in_flight == 1, 60, "the call is in flight")
    await setup.loop.drain([7], 0.0)
    assert setup.world.in_flight == 1
    await setup.loop.drain([0], 0.0)
    assert setup.world.in_flight == 0
    assert setup.in_flight() == 1
    assert len(setup.partitions.schedule) == 0


async def test_a_scope_near_its_hard_quota_is_counted_as_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limiter, "WARN_AT", 0.4)
    warnings = counter("gsc_quota_warnings_total").labels("property")
    before = warnings._value.get()
    setup = a_setup(limits=QuotaLimits(20, 10**7, 10**7, 1.0, 9))
    for number in range(9):
        setup.queue(number)
    setup.loop.start_calls()
    await setup.loop.drain([0], 5)
    assert warnings._value.get() - before == 1
