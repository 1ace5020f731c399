"""A fetcher in memory: the API, the access tokens, the control topic, the consumer group and Kafka as values."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from fetcher.assignment import Partitions
from fetcher.backpressure import SinkBackpressure
from fetcher.capacity import PageMemory, PagePermit
from fetcher.chunks import FetchedPage
from fetcher.dead_letter_limits import DeadLetterLimits
from fetcher.outcome import Done, Outcome
from fetcher.page_call import PageCalls
from fetcher.ports import Ports
from fetcher.quota_limits import QuotaLimits
from fetcher.rate_limiter import RateLimiter
from fetcher.results import ResultPublisher
from fetcher.schedule import Job
from fetcher.service import Fetcher
from fetcher.settings import Capacity
from pipeline.catalog import Catalog, Credential, Property
from pipeline.clock import monotonic
from pipeline.contracts import codec
from pipeline.contracts.halts import Halts
from pipeline.contracts.messages import Batch, Control, PageOutcome
from pipeline.contracts.records import PartitionLag, Position, Record
from pipeline.errors import Retryable
from pipeline.kafka import Headers
from pipeline.offsets import AssignedPartition, OffsetCommit
from support.examples import a_batch

PROPERTY = "sc-domain:example.com"
CATALOG = Catalog(
    credentials=(Credential(id="acme", type="service_account", file=Path("x")),),
    properties=(Property(url=PROPERTY, credential="acme"),),
)
UNLIMITED = QuotaLimits(10**7, 10**7, 10**7, 1.0, 1000)
CAPACITY = Capacity(max_concurrency=32, max_in_flight=10, max_in_flight_bytes=2**20, max_attempts=3, drain_s=1.0)
EMPTY_PAGE = FetchedPage(([], []), [], [], [], [])


class World:
    """Everything that a fetcher talks to. Calls return `outcome`, once `may_answer` is set.

    `outcome_by_row` has the outcomes of pages that begin with certain rows, when they differ.
    """

    def __init__(self) -> None:
        self.halts = Halts()
        self.control_is_readable = True
        self.backpressure = SinkBackpressure(self)
        self.lease_until = monotonic() + 600
        self.outcome: Outcome = Done(EMPTY_PAGE)
        self.outcome_by_row: dict[int, Outcome] = {}
        self.may_answer = asyncio.Event()
        self.calls: list[Batch] = []
        self.tokens_used: list[str] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.current_token = "token 1"
        self.token_error: Exception | None = None
        self.token_requests = 0
        self.tokens_refused: list[str] = []
        self.tokens_accepted: list[str] = []
        self.credential_is_refused = False
        self.kafka_error: Exception | None = None
        self.published: list[tuple[str, bytes | None]] = []
        self.committed: list[OffsetCommit] = []

    def ports(self) -> Ports:
        return Ports(self, self, ResultPublisher(self, "gsc", "full-page"), self, self.backpressure, self)

    # The control topic

    def readable(self, monotonic_now: float) -> bool:
        return self.control_is_readable

    # The lag of the sink

    async def read(self) -> dict[int, PartitionLag]:
        return {}

    async def total(self) -> int:
        return 0

    # Access tokens

    async def token(self, credential: str) -> str:
        self.token_requests += 1
        if self.token_error is not None:
            raise self.token_error
        return self.current_token

    def refused(self, credential: str, token: str) -> bool:
        self.tokens_refused.append(token)
        return self.credential_is_refused

    def accepted(self, credential: str, token: str) -> None:
        self.tokens_accepted.append(token)

    # The API

    async def query(self, batch: Batch, token: str, permit: PagePermit) -> Outcome:
        self.calls.append(batch)
        self.tokens_used.append(token)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self.may_answer.wait()
            await permit.admit()
        finally:
            self.in_flight -= 1
        return self.outcome_by_row.get(batch.start_row, self.outcome)

    # Kafka

    async def publish(self, topic: str, key: str, value: bytes | None, headers: Headers = ()) -> Position:
        if self.kafka_error is not None:
            raise self.kafka_error
        self.published.append((topic, value))
        return Position(0, len(self.published))

    async def publish_all(self, topic: str, messages: Sequence[tuple[str, bytes]]) -> list[Position]:
        return [await self.publish(topic, key, value) for key, value in messages]

    async def forward(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> Position:
        return await self.publish(topic, "", value)

    async def commit(self, commits: Sequence[OffsetCommit]) -> None:
        if self.kafka_error is not None:
            raise self.kafka_error
        self.committed += commits

    # What was published

    def on(self, topic: str) -> list[bytes]:
        return [value for name, value in self.published if name == topic and value]

    def results(self) -> list[bytes]:
        return self.on("gsc.results")

    def outcomes(self) -> list[PageOutcome]:
        return [codec.decode(PageOutcome, value) for value in self.results()]

    def controls(self) -> list[Control]:
        return [codec.decode(Control, value) for value in self.on("gsc.control")]

    def kafka_fails(self) -> None:
        self.kafka_error = Retryable("Kafka is unreachable")


def a_permit() -> PagePermit:
    """Room for a page in a memory of its own."""
    return PageMemory(1, 2**20).permit(a_batch())


def a_record(number: int) -> Record:
    return Record("gsc.batches", 0, number, b"acme", codec.encode(a_batch(start_row=25_000 * number)), 0)


def held_partitions(limits: QuotaLimits = UNLIMITED, moment: float | None = None) -> Partitions:
    """Partition 0, held from offset 0 on, with full token buckets and last active at `moment`: now by default."""
    moment = monotonic() if moment is None else moment
    partitions = Partitions(RateLimiter(limits, 1))
    partitions.assign([AssignedPartition(0, 0, "")], moment - 3600)
    partitions.assignment.mark_active(0, moment)
    return partitions


def a_job(partitions: Partitions, number: int = 0) -> Job:
    """A job in flight."""
    record = a_record(number)
    assert partitions.assignment.start(record)
    return Job(codec.decode(Batch, record.value), record.partition, record.offset)


def dead_letter_limits(limit: int) -> DeadLetterLimits:
    return DeadLetterLimits(limit, 0.5)


def no_catalog(_: str) -> None:
    """Return no credential for any property: none has moved."""


def page_calls(world: World, partitions: Partitions, capacity: Capacity = CAPACITY) -> PageCalls:
    return PageCalls(world.ports(), partitions, capacity)


async def a_fetcher(world: World, capacity: Capacity = CAPACITY) -> Fetcher:
    """A fetcher that has received 20 batches of partition 0."""
    fetcher = Fetcher(CATALOG, capacity, RateLimiter(UNLIMITED, 1), world.ports(), dead_letter_limits(5))
    await fetcher.assigned([AssignedPartition(0, 0, "")])
    await fetcher.receive([a_record(number) for number in range(20)])
    return fetcher


async def run_during(fetcher: Fetcher, scene: Callable[[], Awaitable[None]]) -> None:
    """Run the fetcher until the scene has ended."""
    stop = asyncio.Event()
    loops = asyncio.create_task(fetcher.run(stop))
    try:
        await scene()
    finally:
        stop.set()
        await loops
