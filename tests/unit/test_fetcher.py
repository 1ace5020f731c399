"""The fetcher with both of its loops, end to end in memory."""

import asyncio
from dataclasses import replace

import pytest

from fetcher.error_policy import outcome_of
from fetcher.outcome import Dead, Done, Retry
from fetcher.unknown_batches import KEEP_UNKNOWN_S
from pipeline.clock import monotonic, now
from pipeline.contracts import codec
from pipeline.contracts.messages import Control, PageOutcome
from pipeline.contracts.partition_status import PartitionStatus, read_status, with_status
from pipeline.contracts.records import Record
from pipeline.errors import Retryable
from pipeline.offsets import AssignedPartition, OffsetTracker
from pipeline.pacific import next_pacific_day
from support.examples import NOW, a_batch
from support.fetcher import CAPACITY, EMPTY_PAGE, PROPERTY, World, a_fetcher, a_record, run_during
from support.wait import until

LOAD_QUOTA_SPENT = outcome_of(403, b'{"error": {"message": "Search Analytics load quota exceeded"}}')


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_calls_in_flight_never_exceed_max_concurrency(concurrency: int) -> None:
    world = World()
    fetcher = await a_fetcher(world, replace(CAPACITY, max_concurrency=concurrency))

    async def scene() -> None:
        await until(lambda: world.in_flight == concurrency, 60, "calls are in flight")
        world.may_answer.set()
        await until(lambda: len(world.results()) == 20, 60, "every page is published")

    await run_during(fetcher, scene)
    assert world.most_in_flight == concurrency
    assert len(world.calls) == 20


async def test_a_halt_cancels_calls_and_defers_every_batch() -> None:
    world = World()
    fetcher = await a_fetcher(world, replace(CAPACITY, max_concurrency=4))

    async def scene() -> None:
        await until(lambda: world.in_flight == 4, 60, "calls are in flight")
        world.halts.apply(Control(scope="run:run-1", state="halted", reason="r", actor="a", at=NOW))
        fetcher.halts_changed()
        await until(lambda: len(world.results()) == 20, 60, "every batch is deferred")

    await run_during(fetcher, scene)
    assert len(world.calls) == 4
    assert {outcome.state for outcome in world.outcomes()} == {"deferred"}
    await fetcher.revoked([0])
    assert [(commit.partition, commit.offset) for commit in world.committed[-1:]] == [(0, 20)]


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let retries, and tries in an outage, follow at once."""
    monkeypatch.setattr("fetcher.page_call.retry_delay", lambda *_: 0.0)
    monkeypatch.setattr("fetcher.circuit_breaker.LONGEST_TRY_S", 0.0)


@pytest.mark.usefixtures("no_pauses")
async def test_without_an_access_token_every_page_waits_however_long_it_takes() -> None:
    world = World()
    world.token_error = Retryable("the token endpoint fails")
    world.may_answer.set()
    fetcher = await a_fetcher(world)

    async def scene() -> None:
        await until(lambda: world.token_requests > 20 * 5, 60, "each page was tried more often than a page may fail")
        assert world.calls == world.published == []
        world.token_error = None
        await until(lambda: len(world.results()) == 20, 60, "every page is published")

    await run_during(fetcher, scene)
    assert len(world.calls) == 20


@pytest.mark.usefixtures("no_pauses")
async def test_in_an_outage_of_the_api_every_page_waits_however_long_it_takes() -> None:
    world = World()
    world.outcome = Retry("http_503")
    world.may_answer.set()
    fetcher = await a_fetcher(world)

    async def scene() -> None:
        await until(lambda: len(world.calls) > 20 * 5, 60, "each page was tried more often than a page may fail")
        assert world.published == []
        world.outcome = Done(EMPTY_PAGE)
        await until(lambda: len(world.results()) == 20, 60, "every page is published")

    await run_during(fetcher, scene)
    assert world.on("gsc.dead-letters") == []


async def test_batches_that_the_previous_owner_has_done_are_not_called() -> None:
    tracker = OffsetTracker(0)
    for offset in range(20):
        tracker.started(offset)
    for offset in range(5, 20):
        tracker.done(offset)
    metadata = with_status(tracker.metadata, PartitionStatus("THROTTLED", NOW, "some reason"))
    world = World()
    world.may_answer.set()
    fetcher = await a_fetcher(world)
    await fetcher.revoked([0])
    await fetcher.assigned([AssignedPartition(0, tracker.committable, metadata)])
    await fetcher.receive([a_record(number) for number in range(20)])

    async def scene() -> None:
        await until(lambda: len(world.results()) == 5, 60, "the other pages are published")

    await run_during(fetcher, scene)
    assert sorted(batch.start_row // 25_000 for batch in world.calls) == [0, 1, 2, 3, 4]


async def test_after_a_budget_pause_one_call_probes_and_the_others_wait() -> None:
    world = World()
    scope = f"property:{PROPERTY}"
    world.halts.apply(Control(scope=scope, state="halted", reason="r", actor="a", at=NOW, until=NOW, cause="budget"))
    fetcher = await a_fetcher(world)

    async def scene() -> None:
        await until(lambda: world.in_flight == 1, 60, "one call probes")
        wait = fetcher.call_loop.start_calls()
        assert wait.reason == "tokens"
        assert wait.seconds <= 0.25
        world.may_answer.set()
        await until(lambda: len(world.results()) == 20, 60, "every page is published")

    await run_during(fetcher, scene)
    assert [(control.scope, control.state) for control in world.controls()] == [(scope, "running")]


async def test_a_budget_that_is_refused_after_its_pause_is_halted_until_the_next_day() -> None:
    world = World()
    scope = f"property:{PROPERTY}"
    ended = Control(scope=scope, state="halted", reason="r", actor="a", at=now(), until=now(), cause="budget")
    world.halts.apply(ended)
    world.outcome = LOAD_QUOTA_SPENT
    world.may_answer.set()
    fetcher = await a_fetcher(world)

    async def scene() -> None:
        await until(lambda: len(world.results()) == 20, 60, "every batch is deferred")

    await run_during(fetcher, scene)
    assert len(world.calls) == 1
    assert world.halts.active(now())[0].until == next_pacific_day(now())


async def test_an_operators_halt_is_never_shortened() -> None:
    world = World()
    world.outcome = LOAD_QUOTA_SPENT
    fetcher = await a_fetcher(world, replace(CAPACITY, max_concurrency=1))
    endless = Control(scope=f"property:{PROPERTY}", state="halted", reason="mine", actor="me", at=NOW)

    async def scene() -> None:
        await until(lambda: world.in_flight == 1, 60, "a call is in flight")
        world.halts.apply(endless)  # it is read at the moment at which the response arrives
        world.may_answer.set()
        await until(lambda: len(world.results()) == 20, 60, "every batch is deferred")

    await run_during(fetcher, scene)
    assert world.halts.active(now()) == [endless]


async def test_too_many_dead_letters_halt_the_property_and_the_rest_is_pending() -> None:
    world = World()
    world.outcome = Dead("bad_request", "HTTP 400: no")
    world.may_answer.set()
    fetcher = await a_fetcher(world, replace(CAPACITY, max_concurrency=1))

    async def scene() -> None:
        await until(lambda: len(world.results()) == 20, 60, "every batch is dead or deferred")

    await run_during(fetcher, scene)
    assert [outcome.state for outcome in world.outcomes()].count("dead") in {2, 3}
    assert [control.scope for control in world.controls()] == [f"property:{PROPERTY}"]


@pytest.mark.usefixtures("no_pauses")
async def test_a_page_that_fails_alone_is_retried_a_bounded_number_of_times() -> None:
    world = World()
    world.outcome_by_row = {0: Retry("http_500")}
    world.may_answer.set()
    fetcher = await a_fetcher(world)

    async def scene() -> None:
        await until(lambda: len(world.results()) == 20, 60, "every page is fetched or dead")

    await run_during(fetcher, scene)
    [dead] = [message for message in map(codec.decode_result, world.results()) if isinstance(message, PageOutcome)]
    assert (dead.batch.start_row, dead.state, dead.reason, dead.attempts) == (0, "dead", "attempts_exhausted", 3)


async def test_a_drain_that_is_cut_short_leaves_no_call_behind() -> None:
    world = World()  # whose responses never arrive
    fetcher = await a_fetcher(world, replace(CAPACITY, max_concurrency=4, drain_s=0.01))

    async def scene() -> None:
        await until(lambda: world.in_flight == 4, 60, "calls are in flight")
        await fetcher.revoked([0])
        await until(lambda: world.in_flight == 0, 60, "they are cancelled")
        assert len(fetcher._calls) == 0
        await fetcher.assigned([AssignedPartition(0, 0, "")])
        await fetcher.receive([a_record(number) for number in range(20)])
        await until(lambda: world.in_flight == 4, 60, "as many calls as before are in flight")
        await fetcher.revoked([0])

    await run_during(fetcher, scene)
    assert [commit.offset for commit in world.committed if commit.partition == 0][-1] == 0


async def test_a_partition_has_a_status_while_it_is_drained() -> None:
    world = World()
    fetcher = await a_fetcher(world, replace(CAPACITY, max_concurrency=2))

    def states() -> list[str]:
        return [status.state for status in fetcher.commit_loop.statuses(monotonic(), now()).values()]

    async def scene() -> None:
        await until(lambda: world.in_flight == 2, 60, "calls are in flight")
        draining = asyncio.create_task(fetcher.revoked([0]))
        await until(lambda: len(fetcher._partitions.schedule) == 0, 60, "no call can start any more")
        assert states() == ["OK"]
        world.may_answer.set()
        await draining
        assert states() == []

    await run_during(fetcher, scene)


async def test_a_revoked_partition_is_committed_as_stopped_and_not_called() -> None:
    world = World()
    fetcher = await a_fetcher(world)
    await fetcher.revoked([0])
    assert fetcher.call_loop.start_calls().reason == "idle"
    [commit] = world.committed
    assert (commit.partition, commit.offset) == (0, 0)
    status = read_status(commit.metadata)
    assert status is not None
    assert status.state == "STOPPED"


async def test_a_lost_partition_is_cancelled_without_a_commit() -> None:
    world = World()
    fetcher = await a_fetcher(world, replace(CAPACITY, max_concurrency=2))
    fetcher.call_loop.start_calls()
    await until(lambda: world.in_flight == 2, 60, "calls are in flight")
    fetcher.lost([0])
    await until(lambda: world.in_flight == 0, 60, "they are cancelled")
    assert fetcher.call_loop.start_calls().reason in {"idle", "publishing"}
    assert world.committed == []


async def test_messages_that_cannot_be_called_are_dead_lettered() -> None:
    world = World()
    fetcher = await a_fetcher(world)
    await fetcher.revoked([0])
    await fetcher.assigned([AssignedPartition(0, 0, "")])
    unknown = codec.encode(a_batch(property="sc-domain:unknown.com"))
    await fetcher.receive(
        [
            Record("gsc.batches", 0, 0, b"acme", b"{", 0),
            Record("gsc.batches", 0, 1, b"acme", unknown, 0),
        ]
    )
    fetcher.reject_unknown(monotonic() + KEEP_UNKNOWN_S)
    await until(lambda: len(world.on("gsc.dead-letters")) == 2, 60, "both are dead letters")
    await fetcher.revoked([0])
    assert world.calls == []
    assert sorted(world.on("gsc.dead-letters")) == sorted([b"{", unknown])
    assert [(outcome.state, outcome.reason) for outcome in world.outcomes()] == [("dead", "unknown_property")]
    assert world.committed[-1].offset == 2


async def test_a_repeated_batch_is_done_without_a_call() -> None:
    world = World()
    fetcher = await a_fetcher(world)
    await fetcher.receive([a_record(0)._replace(offset=20)])
    assert len(fetcher._partitions.schedule) == 20
    assert fetcher._partitions.assignment.progress(0, 0.0).in_flight == 20


async def test_reading_pauses_when_the_queue_is_full_and_resumes_when_it_is_low(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fetcher.service.QUEUE_FULL", 20)
    monkeypatch.setattr("fetcher.service.QUEUE_LOW", 19)
    world = World()
    fetcher = await a_fetcher(world, replace(CAPACITY, max_concurrency=1))
    assert not fetcher.wants_more()
    fetcher.call_loop.start_calls()
    assert not fetcher.wants_more()
    world.may_answer.set()

    async def scene() -> None:
        await until(lambda: len(world.results()) == 20, 60, "every page is published")

    await run_during(fetcher, scene)
    assert fetcher.wants_more()
