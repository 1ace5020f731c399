"""One page: its access token, its call, and what the outcome does to rate limiter, halts and Kafka."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace as replace_fields

from fetcher.chunks import FetchedPage
from fetcher.error_policy import outcome_of
from fetcher.outcome import Dead, Deferred, Done, HaltOrder, Outcome, Retry
from fetcher.page_call import BROKER_PAUSE_S, SOON_S
from pipeline.clock import monotonic, now
from pipeline.contracts import codec
from pipeline.contracts.halts import scopes_of
from pipeline.contracts.messages import Control, PageOutcome
from pipeline.errors import Fatal, Retryable
from pipeline.metrics import counter
from support.examples import NOW
from support.fetcher import CAPACITY, EMPTY_PAGE, PROPERTY, UNLIMITED, World, a_job, held_partitions, page_calls
from support.wait import until

UNAUTHORIZED = Retry("unauthorized", after_s=0.0, counts=False, refresh_token=True)


@pytest.fixture(autouse=True)
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every random number be 1/2."""
    monkeypatch.setattr("fetcher.page_call.random.random", lambda: 0.5)


@pytest.fixture
def world() -> World:
    world = World()
    world.may_answer.set()
    return world


def a_halt(scope: str = "all", **changes: Any) -> Control:
    return Control(scope=scope, state="halted", reason="broken", actor="a", at=NOW, **changes)


async def test_a_page_is_published_and_done(world: World) -> None:
    partitions = held_partitions()
    calls = page_calls(world, partitions)
    assert await calls.start(a_job(partitions)) == Done(EMPTY_PAGE)
    assert [topic for topic, _ in world.published] == ["gsc.results"]
    assert world.tokens_used == ["token 1"]
    assert len(calls) == 0


async def test_a_call_is_in_flight_from_its_start_until_its_response(world: World) -> None:
    world.may_answer.clear()
    partitions = held_partitions()
    calls = page_calls(world, partitions, replace(CAPACITY, max_concurrency=1))
    finishing = asyncio.ensure_future(calls.start(a_job(partitions)))
    assert (len(calls), calls.slots.is_full("acme")) == (1, True)
    world.may_answer.set()
    await finishing
    assert (len(calls), calls.slots.is_full("acme")) == (0, False)


async def test_pages_in_memory_are_bounded_and_room_is_returned(world: World) -> None:
    partitions = held_partitions()
    calls = page_calls(world, partitions, replace(CAPACITY, max_in_flight=2))
    outcomes = await asyncio.gather(*(calls.start(a_job(partitions, number)) for number in range(5)))
    assert outcomes == [Done(EMPTY_PAGE)] * 5


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_a_page_that_fails_while_others_succeed_backs_off_and_is_dead_after_the_last_attempt(
    world: World, status: int
) -> None:
    failure = outcome_of(status, b"<html>blocked by proxy</html>")
    assert isinstance(failure, Retry)
    before = counter("gsc_failed_calls_total").labels("acme", failure.reason)._value.get()
    partitions = held_partitions()
    calls, job = page_calls(world, partitions), a_job(partitions)
    outcomes = []
    for number in range(1, 4):
        world.outcome = failure
        outcomes.append(await calls.start(job))
        world.outcome = Done(EMPTY_PAGE)
        await calls.start(a_job(partitions, number))
    assert outcomes == [
        Retry(failure.reason, after_s=1.0),
        Retry(failure.reason, after_s=2.0),
        Dead("attempts_exhausted", failure.reason),
    ]
    assert job.failure == failure.reason
    assert counter("gsc_failed_calls_total").labels("acme", failure.reason)._value.get() - before == 3
    [dead] = [message for message in map(codec.decode_result, world.results()) if isinstance(message, PageOutcome)]
    assert (dead.state, dead.reason, dead.attempts) == ("dead", "attempts_exhausted", 3)


async def test_while_every_call_fails_no_page_uses_an_attempt_or_waits_for_its_own_backoff(world: World) -> None:
    world.outcome = Retry("http_503")
    partitions = held_partitions()
    calls, jobs = page_calls(world, partitions), [a_job(partitions, number) for number in range(20)]
    outcomes = [await calls.start(job) for job in jobs]
    assert outcomes[3:] == [Retry("http_503")] * 17
    assert [job.attempts for job in jobs[3:]] == [0] * 17
    assert calls.outages.wait("acme", monotonic()) > 0
    assert calls.outages.reason("acme") == "credential acme: calls fail (http_503), one tries now and then"
    world.outcome = Done(EMPTY_PAGE)
    await calls.start(jobs[0])
    assert calls.outages.reason("acme") is None


async def test_in_an_outage_a_page_that_failed_is_tried_after_one_that_was_fetched_before(world: World) -> None:
    partitions = held_partitions()
    calls, good = page_calls(world, partitions), a_job(partitions)
    await calls.start(good)
    world.outcome = Retry("http_503")
    bad = a_job(partitions, 1)
    for _ in range(3):
        await calls.start(bad)
    assert calls.outages.in_progress(bad)
    world.calls.clear()
    outcome = await calls.start(bad)  # the reference page fails, so this is an outage
    assert isinstance(outcome, Retry)
    assert [(call.start_row, call.row_limit) for call in world.calls] == [(0, 1)]
    assert not bad.fails_alone

    world.calls.clear()
    world.outcome, world.outcome_by_row = Done(EMPTY_PAGE), {25_000: Retry("http_503")}
    outcomes = [await calls.start(bad) for _ in range(CAPACITY.max_attempts)]
    assert outcomes[-1] == Dead("attempts_exhausted", "http_503")
    assert [(call.start_row, call.row_limit) for call in world.calls] == [(0, 1), *[(25_000, 25_000)] * 3]


async def test_a_throttled_call_slows_the_scope_down_and_uses_no_attempt(world: World) -> None:
    world.outcome = Retry("userRateLimitExceeded", after_s=7.0, counts=False, throttled="credential")
    partitions = held_partitions()
    calls, job = page_calls(world, partitions), a_job(partitions)
    for _ in range(5):
        assert await calls.start(job) == world.outcome
    assert job.attempts == 0
    [reading] = [item for item in partitions.limiter.readings(0.0) if item.kind == "credential"]
    assert reading.rate_qpm < UNLIMITED.user_qpm / 20
    assert world.published == []


async def test_a_refusal_of_the_token_is_reported_and_the_page_is_tried_again_without_an_attempt(world: World) -> None:
    world.outcome = UNAUTHORIZED
    partitions = held_partitions()
    calls, job = page_calls(world, partitions), a_job(partitions)
    for number in range(2 * CAPACITY.max_attempts):
        world.current_token = f"token {number}"
        assert await calls.start(job) == UNAUTHORIZED
    assert (job.attempts, world.published) == (0, [])
    assert world.tokens_refused == world.tokens_used
    assert world.tokens_accepted == []


async def test_a_credential_whose_new_tokens_are_refused_is_halted_and_the_page_deferred(world: World) -> None:
    world.outcome, world.credential_is_refused = UNAUTHORIZED, True
    partitions = held_partitions()
    outcome = await page_calls(world, partitions).start(a_job(partitions))
    assert isinstance(outcome, Deferred)
    assert [(item.scope, item.state, item.cause) for item in world.controls()] == [
        ("credential:acme", "halted", "credential")
    ]
    assert [item.state for item in world.outcomes()] == ["deferred"]


@pytest.mark.parametrize("outcome", [Done(EMPTY_PAGE), Retry("http_500"), Dead("permission", "no")])
async def test_every_other_answer_accepts_the_token(world: World, outcome: Outcome) -> None:
    world.outcome = outcome
    partitions = held_partitions()
    await page_calls(world, partitions).start(a_job(partitions))
    assert (world.tokens_accepted, world.tokens_refused) == (["token 1"], [])


async def test_without_an_access_token_the_page_waits_and_no_attempt_is_counted(world: World) -> None:
    world.token_error = Retryable("the token endpoint fails")
    partitions = held_partitions()
    calls, job = page_calls(world, partitions), a_job(partitions)
    for _ in range(CAPACITY.max_attempts * 2):
        outcome = await calls.start(job)
        assert isinstance(outcome, Retry)
        assert outcome.outage
    assert (job.attempts, world.calls, world.published) == (0, [], [])
    assert calls.outages.reason("acme") == (
        "credential acme: calls fail (the token endpoint fails), one tries now and then"
    )


async def test_a_credential_without_any_token_is_halted_and_the_page_deferred(world: World) -> None:
    world.token_error = Fatal("invalid_grant", scope="credential:acme")
    partitions = held_partitions()
    outcome = await page_calls(world, partitions).start(a_job(partitions))
    assert outcome == Deferred("credential", HaltOrder("credential", "credential", "invalid_grant"))
    assert [(item.scope, item.reason, item.until) for item in world.controls()] == [
        ("credential:acme", "invalid_grant", None)
    ]
    assert [(item.state, item.detail) for item in world.outcomes()] == [
        ("deferred", "halted: credential:acme: invalid_grant")
    ]
    assert world.calls == []


async def test_a_spent_budget_halts_its_scope_for_a_time_and_defers_the_page(world: World) -> None:
    order = HaltOrder("property", "budget", "load_quota", 900.0)
    world.outcome = Deferred("load_quota", order)
    partitions = held_partitions()
    assert await page_calls(world, partitions).start(a_job(partitions)) == world.outcome
    [control] = world.controls()
    assert (control.scope, control.state, control.cause) == (f"property:{PROPERTY}", "halted", "budget")
    assert control.until is not None
    assert 890 < (control.until - now()).total_seconds() <= 900
    assert [item.state for item in world.outcomes()] == ["deferred"]


@pytest.mark.parametrize(("active_for", "halts"), [(timedelta(minutes=5), 1), (timedelta(hours=5), 0)])
async def test_a_halt_with_an_end_is_extended_but_never_shortened(
    world: World, active_for: timedelta, halts: int
) -> None:
    world.outcome = Deferred("load_quota", HaltOrder("property", "budget", "load_quota", 900.0))
    world.may_answer.clear()
    partitions = held_partitions()
    finishing = asyncio.ensure_future(page_calls(world, partitions).start(a_job(partitions)))
    await until(lambda: world.in_flight == 1, 60, "the call is in flight")
    active = a_halt(f"property:{PROPERTY}", until=now() + active_for)
    world.halts.apply(active)
    world.may_answer.set()
    await finishing
    assert len(world.controls()) == halts
    assert (world.halts.active(now()) == [active]) == (halts == 0)


async def test_a_halt_of_a_scope_cancels_its_other_calls(world: World) -> None:
    world.may_answer.clear()
    partitions = held_partitions()
    calls = page_calls(world, partitions)
    other = asyncio.ensure_future(calls.start(a_job(partitions, 1)))
    await until(lambda: world.in_flight == 1, 60, "another call is in flight")
    world.token_error = Fatal("invalid_grant", scope="credential:acme")
    await calls.start(a_job(partitions, 0))
    assert await other == Deferred("halted")
    assert [item.state for item in world.outcomes()] == ["deferred", "deferred"]


async def test_a_missing_permission_halts_the_property_and_dead_letters_the_page(world: World) -> None:
    world.outcome = Dead("permission", "HTTP 403: no", HaltOrder("property", "permission", "HTTP 403: no"))
    partitions = held_partitions()
    assert await page_calls(world, partitions).start(a_job(partitions)) == world.outcome
    assert [(item.scope, item.until) for item in world.controls()] == [(f"property:{PROPERTY}", None)]
    assert len(world.on("gsc.dead-letters")) == 1
    assert [(item.state, item.reason) for item in world.outcomes()] == [("dead", "permission")]


async def test_when_most_properties_are_refused_their_credential_is_halted_instead(world: World) -> None:
    world.outcome = Dead("permission", "HTTP 403: no", HaltOrder("property", "permission", "HTTP 403: no"))
    partitions = held_partitions()
    calls = page_calls(world, partitions)
    outcomes = []
    for number in range(12):
        job = a_job(partitions, number)
        job.batch = replace_fields(job.batch, property=f"sc-domain:shop-{number}.com")
        outcomes.append(await (calls.defer(job) if calls.halt_of(job.batch) else calls.start(job)))
    assert [type(outcome) for outcome in outcomes] == [Dead] * 9 + [Deferred] * 3
    [active] = world.halts.active(now())
    assert (active.scope, active.cause, active.until) == ("credential:acme", "permission", None)
    assert active.reason == (
        "no permission for 10 of its properties, and hardly any other was read, in the last 5 minutes, the last one"
        " sc-domain:shop-9.com: HTTP 403: no"
    )
    ended = [item for item in world.controls() if item.state == "running"]
    assert [item.scope for item in ended] == [f"property:sc-domain:shop-{number}.com" for number in range(9)]
    assert {item.reason for item in ended} == {"superseded by the halt of credential:acme"}


async def test_a_page_that_is_refused_after_its_property_was_halted_is_deferred(world: World) -> None:
    world.outcome = Dead("permission", "HTTP 403: no", HaltOrder("property", "permission", "HTTP 403: no"))
    world.may_answer.clear()
    partitions = held_partitions()
    calls = page_calls(world, partitions)
    finishing = asyncio.ensure_future(calls.start(a_job(partitions)))
    await until(lambda: world.in_flight == 1, 5, "the call is in flight")
    world.halts.apply(a_halt(f"property:{PROPERTY}"))
    world.may_answer.set()
    assert await finishing == Deferred("halted")
    assert world.on("gsc.dead-letters") == []


async def test_a_row_larger_than_a_message_is_dead(world: World) -> None:
    world.outcome = Done(FetchedPage((["x" * 2_000_000], ["y"]), [1.0], [1.0], [1.0], [1.0]))
    partitions = held_partitions()
    outcome = await page_calls(world, partitions).start(a_job(partitions))
    assert isinstance(outcome, Dead)
    assert outcome.reason == "too_large"


async def test_a_halt_cancels_its_calls_and_defers_their_pages(world: World) -> None:
    world.may_answer.clear()
    partitions = held_partitions()
    calls = page_calls(world, partitions)
    finishing = asyncio.ensure_future(calls.start(a_job(partitions)))
    await until(lambda: world.in_flight == 1, 60, "the call is in flight")
    world.halts.apply(a_halt("property:sc-domain:other.com"))
    calls.cancel_halted()
    assert len(calls) == 1
    world.halts.apply(a_halt())
    calls.cancel_halted()
    assert await finishing == Deferred("halted")
    assert [(item.reason, item.detail) for item in world.outcomes()] == [("halted", "halted: all: broken")]


async def test_a_page_that_arrives_after_a_halt_is_deferred(world: World) -> None:
    world.may_answer.clear()
    partitions = held_partitions()
    finishing = asyncio.ensure_future(page_calls(world, partitions).start(a_job(partitions)))
    await until(lambda: world.in_flight == 1, 60, "the call is in flight")
    world.halts.apply(a_halt())
    world.may_answer.set()
    assert await finishing == Deferred("halted")
    assert [item.state for item in world.outcomes()] == ["deferred"]


async def test_a_cancelled_partition_ends_its_calls_with_a_retry(world: World) -> None:
    world.may_answer.clear()
    partitions = held_partitions()
    calls = page_calls(world, partitions)
    finishing = asyncio.ensure_future(calls.start(a_job(partitions)))
    await until(lambda: world.in_flight == 1, 60, "the call is in flight")
    calls.cancel_partitions([7])
    assert len(calls) == 1
    calls.cancel_partitions([0])
    assert await finishing == Retry("interrupted", after_s=SOON_S, counts=False)


@pytest.mark.parametrize("cause", ["halt", "lease", "partition"])
async def test_no_call_starts_when_something_forbids_it_while_the_token_is_fetched(world: World, cause: str) -> None:
    partitions = held_partitions()
    finishing = page_calls(world, partitions).start(a_job(partitions))
    match cause:
        case "halt":
            world.halts.apply(a_halt())
        case "lease":
            world.lease_until = 0.0
        case _:
            partitions.release([0])
    outcome = await finishing
    assert isinstance(outcome, Deferred if cause == "halt" else Retry)
    assert world.calls == []


@pytest.mark.parametrize(
    "outcome",
    [
        Done(EMPTY_PAGE),
        Dead("bad_request", "no"),
        Deferred("load_quota", HaltOrder("property", "budget", "load_quota", 900.0)),
    ],
)
async def test_while_kafka_is_unreachable_the_page_is_fetched_again_without_an_attempt(
    world: World, outcome: Outcome
) -> None:
    world.outcome = outcome
    world.kafka_fails()
    partitions = held_partitions()
    job = a_job(partitions)
    assert await page_calls(world, partitions).start(job) == Retry(
        "Kafka is unreachable", after_s=BROKER_PAUSE_S, counts=False
    )
    assert job.attempts == 0


async def test_a_halted_job_is_deferred_without_a_call_once_kafka_is_reachable(world: World) -> None:
    world.halts.apply(a_halt())
    partitions = held_partitions()
    calls, job = page_calls(world, partitions), a_job(partitions)
    world.kafka_fails()
    assert await calls.defer(job) == Retry("Kafka is unreachable", after_s=BROKER_PAUSE_S, counts=False)
    world.kafka_error = None
    assert await calls.defer(job) == Deferred("halted")
    world.halts.forget("all")
    assert await calls.defer(job) == Deferred("halted")
    assert [item.detail for item in world.outcomes()] == [
        "halted: all: broken",
        "halted: the halt has ended meanwhile",
    ]
    assert world.calls == []


async def test_after_a_budget_pause_a_call_is_a_probe_and_its_success_resumes_the_scope(world: World) -> None:
    scope = f"property:{PROPERTY}"
    world.halts.apply(a_halt(scope, until=NOW, cause="budget"))
    world.may_answer.clear()
    partitions = held_partitions()
    calls, job = page_calls(world, partitions), a_job(partitions)
    assert not calls.is_probed(scopes_of(job.batch))
    finishing = asyncio.ensure_future(calls.start(job))
    assert calls.is_probed(scopes_of(job.batch))
    world.may_answer.set()
    assert await finishing == Done(EMPTY_PAGE)
    assert [(item.scope, item.state, item.cause) for item in world.controls()] == [(scope, "running", "budget")]
    assert not calls.is_probed(scopes_of(job.batch))
