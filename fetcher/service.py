"""The fetcher: takes batches, calls within the quotas, delivers what comes back.

One pump starts calls; each batch under way is a task. What a batch waits for, and for how long, is decided in pure
modules; how a partition stands is told with every commit.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from fetcher.assignment import Assignment
from fetcher.page_call import BROKER_PAUSE_S, SOON_S, Again, Aside, End, Ended, PageCalls
from fetcher.partition_status import View, standing
from fetcher.ports import Ports
from fetcher.rate_limiter import RateLimiter
from fetcher.schedule import Job, Schedule
from fetcher.tasks import Tasks
from pipeline.catalog import Catalog
from pipeline.clock import monotonic, now
from pipeline.consumer_group import AssignedPartition
from pipeline.contracts import codec
from pipeline.contracts.halts import scopes_of
from pipeline.contracts.messages import Batch
from pipeline.contracts.partition_status import PartitionStatus
from pipeline.contracts.records import Record
from pipeline.dead_letter_limit import DeadLetterLimit
from pipeline.errors import Invalid, Retryable
from pipeline.log import batch_fields, logger
from pipeline.metrics import counter, gauge
from pipeline.process import sleep_or_stop

LOOK_FOR_NEWS_S = 0.5
RENEW_EVERY_S = 2.0
QUEUE_FULL = 12_000
"""So many that the daily page of one property is read, and put first, behind a long backfill of another."""
QUEUE_LOW = 8_000

T = TypeVar("T")
_log = logger(__name__)


@dataclass(frozen=True)
class Capacity:
    """How much at once: calls, pages in memory, attempts for a page, seconds for a drain."""

    max_concurrency: int
    max_in_flight: int
    max_attempts: int
    drain_s: float


class Fetcher:
    """The assignee of the partitions of `gsc.batches`."""

    def __init__(
        self, catalog: Catalog, capacity: Capacity, limiter: RateLimiter, ports: Ports, bound: DeadLetterLimit
    ) -> None:
        self._catalog = catalog
        self._member = ports.member
        self._capacity = capacity
        self._limiter = limiter
        self._ports = ports
        self._bound = bound
        self._schedule = Schedule()
        self._holdings = Assignment()
        self._work = PageCalls(
            ports,
            limiter,
            attempts=capacity.max_attempts,
            in_memory=capacity.max_in_flight,
            may_call=lambda job: job.partition in self._holdings and monotonic() < self._member.lease_until,
        )
        self._wake = asyncio.Event()
        self._tasks = Tasks(self._wake.set)
        self._done = asyncio.Event()
        self._full = False

    # What the membership calls

    async def assigned(self, claims: Sequence[AssignedPartition]) -> None:
        """Take partitions over: empty buckets, nothing seen, what the owner before had done."""
        for claim in claims:
            self._holdings.claim(claim, monotonic())
        self._schedule.assigned(claim.partition for claim in claims)
        self._limiter.assigned([claim.partition for claim in claims], monotonic())

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Start nothing more, let calls in flight end for a while, commit what is done, let go."""
        self._schedule.revoked(partitions)
        self._limiter.revoked(partitions, monotonic())
        await self._drain(partitions)
        commits = self._holdings.commits(
            {number: PartitionStatus("STOPPED", now(), "given back by its owner") for number in partitions}
        )
        self._give_up(partitions)
        await self._member.commit(commits)

    def lost(self, partitions: Sequence[int]) -> None:
        """Another has them already: stop at once."""
        self._schedule.revoked(partitions)
        self._limiter.revoked(partitions, monotonic())
        self._give_up(partitions)
        self._work.cancel_in(partitions)

    def _give_up(self, partitions: Sequence[int]) -> None:
        self._holdings.give_up(partitions)
        for partition in partitions:
            self._bound.forget(partition)

    async def receive(self, records: Sequence[Record]) -> None:
        """Queue batches; repeats, and what the owner before has done, are done at once."""
        for record in records:
            if self._holdings.begin(record):
                self._accept(record)
        self._wake.set()

    def wants_more(self) -> bool:
        """Read on until the queue is full, and again when it is low."""
        self._full = len(self._schedule) >= (QUEUE_LOW if self._full else QUEUE_FULL)
        return not self._full

    def halts_changed(self) -> None:
        """Cancel calls of scopes that are halted now; the pump sets their batches aside."""
        self._work.cancel_halted()
        self._wake.set()

    # The work

    async def run(self, stop: asyncio.Event) -> None:
        """Start calls and commit until `stop`; what is in flight then is drained by the membership."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pump(stop))
            group.create_task(self._commit_regularly(stop))

    async def _pump(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._wake.clear()
            wait, reason = self._start_calls()
            began = monotonic()
            try:
                async with asyncio.timeout(min(wait, SOON_S)):
                    await self._wake.wait()
            except TimeoutError:
                pass
            counter("gsc_wait_seconds_total").labels(reason).inc(monotonic() - began)
            self._tasks.check()

    def _start_calls(self) -> tuple[float, str]:
        """Start what can start; returns the seconds until more may, and what is waited for."""
        gauge("gsc_queued_batches").set(len(self._schedule))
        while True:
            moment = monotonic()
            if closed := self._closed(moment):
                return SOON_S, closed
            found = self._schedule.next(lambda job: self._wait_of(job, moment))  # noqa: B023 - called at once
            if not isinstance(found, Job):
                return found, self._waited_for()
            self._begin(found, moment)

    def _waited_for(self) -> str:
        if len(self._schedule):
            return "tokens"
        if self._work.calls:
            return "http"
        return "publishing" if len(self._tasks) else "idle"

    def _closed(self, moment: float) -> str | None:
        """Why no call may start at all."""
        if not self._ports.control.readable(moment):
            return "control"
        if moment >= self._member.lease_until:
            return "lease"
        if self._ports.pressure.closed:
            return "backpressure"
        if self._work.calls >= self._capacity.max_concurrency:
            return "concurrency"
        return None

    def _wait_of(self, job: Job, moment: float) -> float:
        if self._work.halt_of(job.batch):
            return 0.0  # to be set aside
        trial = self._ports.control.halts.on_trial(scopes_of(job.batch), now())
        one_at_a_time = SOON_S if trial and self._work.trying(trial.scope) else 0.0
        tokens = self._limiter.wait(job.batch, job.partition, moment)
        return max(job.not_before - moment, tokens, one_at_a_time)

    def _begin(self, job: Job, moment: float) -> None:
        self._holdings.moved(job.partition, moment)
        if self._work.halt_of(job.batch):
            self._tasks.spawn(self._settled(job, self._work.defer(job)), job.partition)
            return
        for spending in self._limiter.take(job.batch, job.partition, moment):
            counter("gsc_quota_warnings_total").labels(spending.kind).inc()
            _log.warning(
                "quota_nearly_spent",
                scope=f"{spending.kind} {spending.name}".strip(),
                calls=spending.calls,
                quota=spending.quota_qpm,
            )
        self._holdings.called(job)
        gauge("gsc_batches_uncommitted").set(self._holdings.at_stake)
        self._tasks.spawn(self._settled(job, self._work.begin(job)), job.partition)

    async def _settled(self, job: Job, work: Awaitable[End]) -> None:
        """Wait for a batch's end, and do what it asks for."""
        try:
            end = await work
        except Retryable as error:
            _log.warning("not_delivered", error=str(error), **batch_fields(job.batch))
            end = Again(BROKER_PAUSE_S)
        self._holdings.moved(job.partition, monotonic())
        self._wake.set()
        match end:
            case Again(seconds):
                job.not_before = monotonic() + seconds
                self._schedule.put_back(job)
            case Aside():
                self._schedule.forget(job)
                self._holdings.done(job)
            case Ended(reason):
                if reason:  # it may be redriven, under its id
                    self._schedule.forget(job)
                self._holdings.done(job)
                self._done.set()
                self._count(job.partition, reason)

    def _count(self, partition: int, dead: str) -> None:
        if dead:
            self._bound.dead(partition, dead)
        else:
            self._bound.done(partition)

    def _accept(self, record: Record) -> None:
        try:
            batch = codec.decode(Batch, record.value)
        except Invalid as error:
            self._tasks.spawn(self._bury(record, str(error)), record.partition)
            return
        job = Job(batch, record.partition, record.offset)
        known = self._catalog.property_by_url.get(batch.property)
        if known is None or known.credential != batch.credential:
            detail = f"the catalog has no property {batch.property} with credential {batch.credential}"
            dead = _until_published(lambda: self._work.dead(job, "unknown_credential", detail))
            self._tasks.spawn(self._settled(job, dead), record.partition)
        elif not self._schedule.add(job, monotonic()):
            self._holdings.done(record)

    async def _bury(self, record: Record, error: str) -> None:
        await _until_published(lambda: self._ports.delivery.poison(record, "undecodable", error))
        self._holdings.done(record)
        self._bound.dead(record.partition, f"undecodable: {error}")

    # Drains and commits

    async def _drain(self, partitions: Sequence[int]) -> None:
        late = await self._tasks.drain(partitions, self._capacity.drain_s)
        if late:
            _log.warning("drain_cut_short", calls=late, partitions=list(partitions))
            self._work.cancel_in(partitions)
            await self._tasks.cancel(partitions)

    def _standings(self) -> dict[int, PartitionStatus]:
        return {partition: self._standing(partition) for partition in self._holdings.partitions}

    def _standing(self, partition: int) -> PartitionStatus:
        moment, at = monotonic(), now()
        job, wait = self._schedule.soonest(partition, lambda job: self._wait_of(job, moment))
        pace = self._limiter.pace(job.batch, partition, moment) if job else None
        return standing(
            View(
                at=at,
                in_flight=self._holdings.in_flight(partition),
                still_s=moment - self._holdings.still_since(partition),
                closed=self._closed(moment),
                sink_lag=self._ports.pressure.lag,
                halts=self._ports.control.halts.active(at),
                touched=self._schedule.touched(partition),
                waits=str(pace) if pace else ("to be tried again" if job else ""),
                until=at + timedelta(seconds=wait) if job and wait > 0 else None,
            )
        )

    async def _commit_regularly(self, stop: asyncio.Event) -> None:
        """As soon as something is done: what is done and not committed would be repeated after a kill."""
        renewed = looked = float("-inf")
        standings: dict[int, PartitionStatus] = {}
        while not stop.is_set():
            await sleep_or_stop(self._done, LOOK_FOR_NEWS_S)
            self._done.clear()
            if monotonic() - looked >= LOOK_FOR_NEWS_S:  # not for every page: there may be thousands of properties
                looked = monotonic()
                standings = self._standings()
                self._show_limits()
            due = monotonic() - renewed >= RENEW_EVERY_S
            commits = self._holdings.commits(standings)
            news = [commit for commit in commits if due or self._holdings.is_news(commit)]
            if not news:
                continue
            try:
                await self._member.commit(news)
            except Retryable as error:
                _log.warning("commit_failed", error=str(error))
                await sleep_or_stop(stop, LOOK_FOR_NEWS_S)
                continue
            renewed = monotonic() if due else renewed
            self._holdings.told(news)
            gauge("gsc_batches_uncommitted").set(self._holdings.at_stake)

    def _show_limits(self) -> None:
        """A credential is one series of metrics; of the properties, which may be thousands, only the busiest."""
        readings = self._limiter.readings(monotonic())
        for name in ("gsc_calls_last_minute", "gsc_calls_allowed_per_minute", "gsc_tokens"):
            gauge(name).clear()
        for reading in (item for item in readings if item.kind == "credential"):
            gauge("gsc_calls_last_minute").labels(reading.name).set(reading.calls)
            gauge("gsc_calls_allowed_per_minute").labels(reading.name).set(reading.rate_qpm)
            gauge("gsc_tokens").labels(reading.name).set(reading.tokens)
        properties = [item for item in readings if item.kind == "property"]
        gauge("gsc_property_calls_last_minute_max").set(max((item.calls for item in properties), default=0))
        nearest = max((item.calls / item.rate_qpm for item in properties), default=0)
        gauge("gsc_property_utilisation_max").set(nearest)


async def _until_published(publish: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await publish()
        except Retryable:
            await asyncio.sleep(BROKER_PAUSE_S)
