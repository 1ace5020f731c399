"""The pump, with everything around it made of values."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from fetcher.chunking import FetchedPage
from fetcher.delivering import Delivery
from fetcher.quota import Limiter, Limits
from fetcher.service import Capacity, Fetcher, Ports
from fetcher.verdict import Verdict
from pipeline.catalog import Catalog, Credential, Property
from pipeline.clock import monotonic
from pipeline.consuming import Claim, Commit
from pipeline.contracts import codec
from pipeline.contracts.halts import Halts
from pipeline.contracts.messages import Batch, Control, Outcome
from pipeline.contracts.records import Position, Record
from pipeline.kafka import Headers
from support.examples import NOW, a_batch
from support.waiting import until

CATALOG = Catalog(
    credentials=(Credential(id="acme", type="service_account", file=Path("x")),),
    properties=(Property(url="sc-domain:example.com", credential="acme"),),
)
UNLIMITED = Limits(10**7, 10**7, 10**7, 1.0, 1000)
EMPTY = FetchedPage(([], []), [], [], [], [])


class World:
    """The API, the tokens, the control topic, the group and Kafka, as far as the fetcher sees them."""

    def __init__(self) -> None:
        self.halts = Halts()
        self.closed = False
        self.confirmed = True
        self.lease_until = monotonic() + 600
        self.answer = asyncio.Event()
        self.calls: list[Batch] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.published: list[tuple[str, bytes | None]] = []
        self.committed: list[Commit] = []

    def readable(self, _: float) -> bool:
        return self.confirmed

    async def token(self, _: str) -> str:
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
        return EMPTY

    async def publish(self, topic: str, key: str, value: bytes | None, headers: Headers = ()) -> Position:
        self.published.append((topic, value))
        return Position(0, len(self.published))

    async def publish_all(self, topic: str, messages: Sequence[tuple[str, bytes]]) -> list[Position]:
        return [await self.publish(topic, key, value) for key, value in messages]

    async def forward(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> Position:
        return await self.publish(topic, "", value)

    async def commit(self, commits: Sequence[Commit]) -> None:
        self.committed += commits

    def results(self) -> list[bytes]:
        return [value for topic, value in self.published if topic == "gsc.results" and value]


async def a_fetcher(world: World, *, concurrency: int = 32) -> Fetcher:
    limiter = Limiter(UNLIMITED, 1)
    delivery = Delivery(world, "gsc", "full-page")
    fetcher = Fetcher(CATALOG, Capacity(concurrency, 10, 3, 1.0), limiter, Ports(world, world, delivery, world, world))
    fetcher.member = world
    await fetcher.assigned([Claim(0, 0, "")])
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
    assert {codec.decode(Outcome, value).state for value in world.results()} == {"set_aside"}
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


async def test_what_is_revoked_is_not_called() -> None:
    world = World()
    fetcher = await a_fetcher(world)
    await fetcher.revoked([0])
    assert fetcher._start_calls()[1] == "idle"
    assert [(commit.partition, commit.offset) for commit in world.committed] == [(0, 0)]


async def test_what_the_owner_before_has_done_is_not_called_again() -> None:
    world = World()
    world.answer.set()
    before = await a_fetcher(world)
    tracker = before._trackers[0]
    for offset in range(5, 20):
        tracker.done(offset)
    after = await a_fetcher(World())
    await after.revoked([0])
    await after.assigned([Claim(0, tracker.committable, tracker.metadata)])
    await after.receive([a_record(number) for number in range(20)])
    assert len(after._schedule) == 5
