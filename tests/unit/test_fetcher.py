"""The pump, with everything around it made of values."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from fetcher.chunks import FetchedPage
from fetcher.error_policy import Dead, Park, Retry, Verdict
from fetcher.halting import next_pacific_day
from fetcher.page_call import SOON_S
from fetcher.ports import Ports
from fetcher.rate_limiter import RateLimiter
from fetcher.results import ResultPublisher
from fetcher.service import Capacity, Fetcher
from fetcher.token_bucket import QuotaLimits
from pipeline.catalog import Catalog, Credential, Property
from pipeline.clock import monotonic, now
from pipeline.consumer_group import AssignedPartition, OffsetCommit
from pipeline.contracts import codec
from pipeline.contracts.halts import Halts
from pipeline.contracts.messages import Batch, Control, PageOutcome
from pipeline.contracts.partition_status import PartitionStatus, with_status
from pipeline.contracts.records import Position, Record
from pipeline.dead_letter_limit import DeadLetterLimit
from pipeline.errors import Fatal, Retryable
from pipeline.kafka import Headers
from pipeline.offsets import OffsetTracker
from support.examples import NOW, a_batch
from support.wait import until

CATALOG = Catalog(
    credentials=(Credential(id="acme", type="service_account", file=Path("x")),),
    properties=(Property(url="sc-domain:example.com", credential="acme"),),
)
UNLIMITED = QuotaLimits(10**7, 10**7, 10**7, 1.0, 1000)
EMPTY = FetchedPage(([], []), [], [], [], [])


class World:
    """The API, the tokens, the control topic, the group and Kafka, as far as the fetcher sees them."""

    def __init__(self) -> None:
        self.halts = Halts()
        self.closed = False
        self.lag = 0
        self.verdict: Verdict | None = None
        self.confirmed = True
        self.no_token = ""
        self.tokens_asked = 0
        self.lease_until = monotonic() + 600
        self.answer = asyncio.Event()
        self.calls: list[Batch] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.published: list[tuple[str, bytes | None]] = []
        self.committed: list[OffsetCommit] = []

    def readable(self, _: float) -> bool:
        return self.confirmed

    async def token(self, _: str) -> str:
        self.tokens_asked += 1
        if self.no_token:
            raise Retryable(self.no_token)
        return "token"

    async def replace(self, credential: str, refused: str) -> None:
        raise AssertionError(f"{credential}: {refused} was not refused")

    async def query(self, batch: Batch, _: str, admit: Callable[[], Awaitable[None]]) -> FetchedPage | Verdict:
        self.calls.append(batch)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self.answer.wait()
            await admit()
        finally:
            self.in_flight -= 1
        return self.verdict or EMPTY

    async def publish(self, topic: str, key: str, value: bytes | None, headers: Headers = ()) -> Position:
        self.published.append((topic, value))
        return Position(0, len(self.published))

    async def publish_all(self, topic: str, messages: Sequence[tuple[str, bytes]]) -> list[Position]:
        return [await self.publish(topic, key, value) for key, value in messages]

    async def forward(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> Position:
        return await self.publish(topic, "", value)

    async def commit(self, commits: Sequence[OffsetCommit]) -> None:
        self.committed += commits

    def results(self) -> list[bytes]:
        return [value for topic, value in self.published if topic == "gsc.results" and value]


async def a_fetcher(world: World, *, concurrency: int = 32) -> Fetcher:
    limiter = RateLimiter(UNLIMITED, 1)
    delivery = ResultPublisher(world, "gsc", "full-page")
    ports = Ports(world, world, delivery, world, world, world)
    fetcher = Fetcher(CATALOG, Capacity(concurrency, 10, 3, 1.0), limiter, ports, DeadLetterLimit(5, 0.5))
    await fetcher.assigned([AssignedPartition(0, 0, "")])
    await fetcher.receive([a_record(number) for number in range(20)])
    return fetcher


def a_record(number: int) -> Record:
    return Record("gsc.batches", 0, number, b"acme", codec.encode(a_batch(start_row=25_000 * number)), 0)


async def running(fetcher: Fetcher, scene: Callable[[], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    pump = asyncio.create_task(fetcher.run(stop))
    try:
        await scene()
    finally:
        stop.set()
        await pump


async def test_no_more_calls_at_once_than_allowed() -> None:
    for concurrency in (1, 3):
        world = World()
        fetcher = await a_fetcher(world, concurrency=concurrency)

        async def scene(world: World = world, concurrency: int = concurrency) -> None:
            await until(lambda: world.in_flight == concurrency, 5, "calls are under way")
            world.answer.set()
            await until(lambda: len(world.results()) == 20, 5, "every page is delivered")

        await running(fetcher, scene)
        assert world.most_in_flight == concurrency
        assert len(world.calls) == 20


async def test_a_halt_cancels_calls_and_sets_everything_aside() -> None:
    world = World()
    fetcher = await a_fetcher(world, concurrency=4)

    async def scene() -> None:
        await until(lambda: world.in_flight == 4, 5, "calls are under way")
        world.halts.apply(Control(scope="run:run-1", state="halted", reason="r", actor="a", at=NOW))
        fetcher.halts_changed()
        await until(lambda: len(world.results()) == 20, 5, "every batch is set aside")

    await running(fetcher, scene)
    assert len(world.calls) == 4
    assert {codec.decode(PageOutcome, value).state for value in world.results()} == {"deferred"}
    await fetcher.revoked([0])
    assert [(commit.partition, commit.offset) for commit in world.committed[-1:]] == [(0, 20)]


async def test_nothing_is_called_without_a_lease_control_or_room_in_the_sink() -> None:
    for closed in ("lease", "control", "pressure"):
        world = World()
        world.lease_until = 0.0 if closed == "lease" else world.lease_until
        world.confirmed = closed != "control"
        world.closed = closed == "pressure"
        fetcher = await a_fetcher(world)
        assert fetcher._start_calls()[1] == {"pressure": "backpressure"}.get(closed, closed)
        assert world.calls == []


async def test_without_a_token_every_page_waits_however_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fetcher.page_call.full_jitter", lambda *_: 0.0)
    world = World()
    world.no_token = "the endpoint is unwell"
    world.answer.set()
    fetcher = await a_fetcher(world)

    async def scene() -> None:
        await until(lambda: world.tokens_asked > 20 * 5, 5, "each has been tried more often than a page may fail")
        assert world.calls == world.published == []
        world.no_token = ""
        await until(lambda: len(world.results()) == 20, 5, "every page is delivered")

    await running(fetcher, scene)
    assert len(world.calls) == 20


async def test_what_is_revoked_is_not_called() -> None:
    world = World()
    fetcher = await a_fetcher(world)
    await fetcher.revoked([0])
    assert fetcher._start_calls()[1] == "idle"
    assert [(commit.partition, commit.offset) for commit in world.committed] == [(0, 0)]


async def test_what_the_owner_before_has_done_is_not_called_again() -> None:
    tracker = OffsetTracker(0)
    for offset in range(20):
        tracker.started(offset)
    for offset in range(5, 20):
        tracker.done(offset)
    metadata = with_status(tracker.metadata, PartitionStatus("THROTTLED", NOW, "some reason"))
    world = World()
    world.answer.set()
    fetcher = await a_fetcher(world)
    await fetcher.revoked([0])
    await fetcher.assigned([AssignedPartition(0, tracker.committable, metadata)])
    await fetcher.receive([a_record(number) for number in range(20)])

    async def scene() -> None:
        await until(lambda: len(world.results()) == 5, 5, "what is left is delivered")

    await running(fetcher, scene)
    assert sorted(batch.start_row // 25_000 for batch in world.calls) == [0, 1, 2, 3, 4]


async def test_after_a_pause_one_call_tries_and_the_others_wait() -> None:
    world = World()
    scope = "property:sc-domain:example.com"
    world.halts.apply(Control(scope=scope, state="halted", reason="r", actor="a", at=NOW, until=NOW, cause="budget"))
    fetcher = await a_fetcher(world)

    async def scene() -> None:
        await until(lambda: world.in_flight == 1, 5, "one call tries")
        assert fetcher._start_calls() == (SOON_S, "tokens")
        world.answer.set()
        await until(lambda: len(world.results()) == 20, 5, "the budget is back")

    await running(fetcher, scene)
    told = [codec.decode(Control, value) for topic, value in world.published if topic == "gsc.control"]
    assert [(control.scope, control.state) for control in told] == [(scope, "running")]


async def test_a_budget_that_is_still_spent_is_left_alone_for_the_day() -> None:
    world = World()
    scope = "property:sc-domain:example.com"
    ended = Control(scope=scope, state="halted", reason="r", actor="a", at=now(), until=now(), cause="budget")
    world.halts.apply(ended)
    world.verdict = Park("load_quota", "property")
    world.answer.set()
    fetcher = await a_fetcher(world)

    async def scene() -> None:
        await until(lambda: len(world.results()) == 20, 5, "every batch is set aside")

    await running(fetcher, scene)
    assert len(world.calls) == 1
    assert world.halts.active(now())[0].until == next_pacific_day(now())


async def test_an_operators_halt_is_never_shortened() -> None:
    world = World()
    world.verdict = Park("load_quota", "property")
    fetcher = await a_fetcher(world, concurrency=1)
    forever = Control(scope="property:sc-domain:example.com", state="halted", reason="mine", actor="me", at=NOW)

    async def scene() -> None:
        await until(lambda: world.in_flight == 1, 5, "a call is under way")
        world.halts.apply(forever)  # read at the moment at which the answer comes
        world.answer.set()
        await until(lambda: len(world.results()) == 20, 5, "every batch is set aside")

    await running(fetcher, scene)
    assert world.halts.active(now()) == [forever]


async def test_too_many_dead_letters_stop_the_service() -> None:
    world = World()
    world.verdict = Dead("bad_request", "HTTP 400: no")
    world.answer.set()
    fetcher = await a_fetcher(world, concurrency=1)
    with pytest.raises(ExceptionGroup) as caught:
        await fetcher.run(asyncio.Event())
    assert caught.group_contains(Fatal, match=r"5 of the last 5 messages of partition 0 are dead letters")
    assert len(world.calls) <= 6


async def test_a_passing_fault_is_tried_a_bounded_number_of_times() -> None:
    world = World()
    world.verdict = Retry("http_500")
    world.answer.set()
    fetcher = await a_fetcher(world)
    await fetcher.revoked([0])
    await fetcher.assigned([AssignedPartition(0, 0, "")])
    await fetcher.receive([a_record(0)])

    async def scene() -> None:
        await until(lambda: len(world.results()) == 1, 15, "it is dead")

    await running(fetcher, scene)
    assert len(world.calls) == 3
    outcome = codec.decode(PageOutcome, world.results()[0])
    assert (outcome.state, outcome.reason, outcome.attempts) == ("dead", "attempts_exhausted", 3)


async def test_a_drain_that_is_cut_short_leaves_nothing_behind() -> None:
    world = World()  # whose answers never come
    fetcher = await a_fetcher(world, concurrency=4)
    fetcher._capacity = Capacity(4, 10, 3, drain_s=0.01)

    async def scene() -> None:
        await until(lambda: world.in_flight == 4, 5, "calls are under way")
        await fetcher.revoked([0])
        await until(lambda: world.in_flight == 0, 5, "they are cancelled")
        assert fetcher._work.calls == 0
        await fetcher.assigned([AssignedPartition(0, 0, "")])
        await fetcher.receive([a_record(number) for number in range(20)])
        await until(lambda: world.in_flight == 4, 5, "as many as before are under way")
        await fetcher.revoked([0])

    await running(fetcher, scene)
    assert [commit.offset for commit in world.committed if commit.partition == 0][-1] == 0


async def test_a_partition_that_is_drained_still_tells_how_it_stands() -> None:
    world = World()
    fetcher = await a_fetcher(world, concurrency=2)

    async def scene() -> None:
        await until(lambda: world.in_flight == 2, 5, "calls are under way")
        draining = asyncio.create_task(fetcher.revoked([0]))
        await until(lambda: len(fetcher._schedule) == 0, 5, "nothing more is started")
        assert fetcher._standings()[0].state == "OK"
        world.answer.set()
        await draining
        assert fetcher._standings() == {}

    await running(fetcher, scene)
