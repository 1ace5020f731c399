"""The fetcher: takes batches, calls within the quotas, delivers what comes back.

One pump starts calls; each call is a task. What a batch waits for, and for how long, is decided in pure modules.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from fetcher.backoff import full_jitter
from fetcher.chunking import FetchedPage
from fetcher.delivering import Delivery
from fetcher.halting import Parking, scope_of
from fetcher.quota import Limiter
from fetcher.scheduling import Job, Schedule
from fetcher.verdict import Dead, DeadAndHalt, Park, Refresh, Retry, Verdict, Wait
from pipeline.catalog import Catalog
from pipeline.clock import monotonic, now
from pipeline.consuming import Claim, Commit
from pipeline.contracts import codec
from pipeline.contracts.halts import Halts
from pipeline.contracts.messages import Batch, Control
from pipeline.contracts.records import Record
from pipeline.contracts.scopes import scopes_of
from pipeline.errors import Fatal, Invalid, Retryable
from pipeline.offsets import OffsetTracker
from pipeline.running import sleep_or_stop
from pipeline.telemetry import counter, gauge, histogram, logger

COMMIT_EVERY_S = 0.5
RENEW_EVERY_S = 2.0
LOOK_AGAIN_S = 0.25
BROKER_PAUSE_S = 2.0
QUEUE_FULL = 2000
QUEUE_LOW = 1000

_log = logger(__name__)
Admit = Callable[[], Awaitable[None]]


class Member(Protocol):
    """Our membership in the group."""

    lease_until: float

    async def commit(self, commits: Sequence[Commit]) -> None:
        """Commit; success renews the lease. Raises Retryable."""


class Watching(Protocol):
    """What is halted."""

    halts: Halts

    def readable(self, monotonic_now: float) -> bool:
        """Whether the halts are known."""


class Calling(Protocol):
    """The API."""

    async def query(self, batch: Batch, token: str, admit: Admit) -> FetchedPage | Verdict:
        """Fetch a page."""


class Authorizing(Protocol):
    """Access tokens."""

    async def token(self, credential: str) -> str:
        """A valid token. Raises Retryable or Fatal."""

    async def replace(self, credential: str, refused: str) -> None:
        """Get another one than the one that was refused. Raises Retryable or Fatal."""


class Pressure(Protocol):
    """Whether the sink is too far behind."""

    closed: bool


@dataclass(frozen=True)
class Ports:
    """What the fetcher talks to."""

    console: Calling
    tokens: Authorizing
    delivery: Delivery
    control: Watching
    pressure: Pressure


@dataclass(frozen=True)
class Capacity:
    """How much at once: calls, pages in memory, attempts for a page, seconds for a drain."""

    max_concurrency: int
    max_in_flight: int
    max_attempts: int
    drain_s: float


class Fetcher:
    """The assignee of the partitions of `gsc.batches`."""

    def __init__(self, catalog: Catalog, capacity: Capacity, limiter: Limiter, ports: Ports) -> None:
        self._catalog = catalog
        self._capacity = capacity
        self._limiter = limiter
        self._ports = ports
        self._schedule = Schedule()
        self._parking = Parking()
        self._trackers: dict[int, OffsetTracker] = {}
        self._committed: dict[int, Commit] = {}
        self._tasks: dict[asyncio.Task[None], int] = {}
        self._calls: dict[Job, asyncio.Task[FetchedPage | Verdict]] = {}
        self._memory = asyncio.Semaphore(capacity.max_in_flight)
        self._wake = asyncio.Event()
        self._full = False
        self._failure: BaseException | None = None
        self.member: Member | None = None
        """Set before anything is assigned: membership and assignee know each other."""

    # What the membership calls

    async def assigned(self, claims: Sequence[Claim]) -> None:
        """Take partitions over: empty buckets, nothing seen, what the owner before had done."""
        for claim in claims:
            self._trackers[claim.partition] = OffsetTracker(claim.offset, claim.metadata)
        self._schedule.assigned(claim.partition for claim in claims)
        self._limiter.assigned([claim.partition for claim in claims], monotonic())

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Start nothing more, let calls in flight end for a while, commit what is done, let go."""
        self._schedule.revoked(partitions)
        self._limiter.revoked(partitions, monotonic())
        await self._drain(partitions)
        commits = self._commits(partitions)
        self._drop(partitions)
        await self._member().commit(commits)

    def lost(self, partitions: Sequence[int]) -> None:
        """Another has them already: stop at once."""
        self._schedule.revoked(partitions)
        self._limiter.revoked(partitions, monotonic())
        self._drop(partitions)
        self._cancel(job for job in self._calls if job.partition in partitions)

    async def receive(self, records: Sequence[Record]) -> None:
        """Queue batches; repeats, and what the owner before has done, are done at once."""
        for record in records:
            tracker = self._trackers.get(record.partition)
            if tracker is None or tracker.is_done(record.offset):
                continue
            tracker.started(record.offset)
            self._accept(record, tracker)
        self._wake.set()

    def wants_more(self) -> bool:
        """Read on until the queue is full, and again when it is low."""
        self._full = len(self._schedule) >= (QUEUE_LOW if self._full else QUEUE_FULL)
        return not self._full

    def halts_changed(self) -> None:
        """Cancel calls of scopes that are halted now; the pump sets their batches aside."""
        self._cancel(job for job in self._calls if self._halt_of(job.batch))
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
                async with asyncio.timeout(min(wait, LOOK_AGAIN_S)):
                    await self._wake.wait()
            except TimeoutError:
                pass
            counter("gsc_wait_seconds_total").labels(reason).inc(monotonic() - began)
            if self._failure is not None:
                raise self._failure

    def _start_calls(self) -> tuple[float, str]:
        """Start what can start; returns the seconds until more may, and what is waited for."""
        self._set_aside_halted()
        gauge("gsc_queued_batches").set(len(self._schedule))
        while True:
            moment = monotonic()
            if closed := self._closed(moment):
                return LOOK_AGAIN_S, closed
            found = self._schedule.next(lambda job: self._wait_of(job, moment))  # noqa: B023 - called at once
            if not isinstance(found, Job):
                return found, "tokens" if len(self._schedule) else "idle"
            self._limiter.take(found.batch, found.partition)
            self._begin(found)

    def _closed(self, moment: float) -> str | None:
        """Why no call may start at all."""
        if not self._ports.control.readable(moment):
            return "control"
        if moment >= self._member().lease_until:
            return "lease"
        if self._ports.pressure.closed:
            return "backpressure"
        if len(self._calls) >= self._capacity.max_concurrency:
            return "concurrency"
        return None

    def _wait_of(self, job: Job, moment: float) -> float:
        return max(job.not_before - moment, self._limiter.wait(job.batch, job.partition, moment))

    def _begin(self, job: Job) -> None:
        in_memory = _Permit(self._memory)
        # Counted from here on: the next look at the concurrency is before the task's first step.
        self._calls[job] = asyncio.create_task(self._call(job, in_memory.acquire))
        gauge("gsc_calls_in_flight").set(len(self._calls))
        self._spawn(self._work_on(job, self._calls[job], in_memory), job.partition)

    async def _work_on(self, job: Job, call: asyncio.Task[FetchedPage | Verdict], in_memory: "_Permit") -> None:
        try:
            await asyncio.wait({call})
            del self._calls[job]
            self._wake.set()
            if call.cancelled() and self._halt_of(job.batch):
                await self._set_aside(job)
            elif call.cancelled():  # the lease ran out, or the partition is another's
                self._again(job, LOOK_AGAIN_S)
            else:
                await self._settle(job, call.result())
        except Retryable as error:  # Kafka is away: the page is fetched again, no attempt is counted
            _log.warning("not_delivered", batch=job.batch.batch_id, error=str(error))
            self._again(job, BROKER_PAUSE_S)
        finally:
            in_memory.release()
            gauge("gsc_calls_in_flight").set(len(self._calls))

    async def _call(self, job: Job, admit: Admit) -> FetchedPage | Verdict:
        """One call, with a token; halts, lease and ownership are looked at again after the token is there."""
        credential = job.batch.credential
        try:
            token = await self._ports.tokens.token(credential)
            if job.refreshed and token == job.refused_token:
                await self._ports.tokens.replace(credential, token)
                token = await self._ports.tokens.token(credential)
        except Retryable as error:
            return Retry(f"token: {error}")
        except Fatal as error:
            return DeadAndHalt("credential", "credential", str(error))
        if self._halt_of(job.batch) or monotonic() >= self._member().lease_until or job.partition not in self._trackers:
            raise asyncio.CancelledError
        began = monotonic()
        answer = await self._ports.console.query(job.batch, token, admit)
        histogram("gsc_call_seconds").observe(monotonic() - began)
        job.refused_token = token
        return answer

    async def _settle(self, job: Job, answer: FetchedPage | Verdict) -> None:
        """What the answer means for the batch, the limiter and the halts."""
        counter("gsc_calls_total").labels(job.batch.credential, _outcome(answer)).inc()
        match answer:
            case FetchedPage():
                await self._deliver(job, answer)
            case Retry():
                await self._retry(job, answer)
            case Wait():
                self._limiter.refused(job.batch, job.partition, answer.scope, monotonic(), answer.retry_after)
                self._again(job, answer.retry_after or 0.0)
            case Park():
                await self._halt(job, answer.scope, answer.reason, self._parking.until(job.batch, answer, now()))
                await self._set_aside(job)
            case Refresh() if not job.refreshed:
                job.refreshed = True
                self._again(job, 0.0)
            case Refresh():
                await self._halt(job, "credential", "unauthorized: a fresh token is refused", None)
                await self._set_aside(job)
            case Dead():
                await self._dead(job, answer.reason, answer.detail)
            case DeadAndHalt(scope="credential"):  # the batch is good: it is owed until the credential is mended
                await self._halt(job, answer.scope, answer.detail, None)
                await self._set_aside(job)
            case DeadAndHalt():
                await self._dead(job, answer.reason, answer.detail)
                await self._halt(job, answer.scope, answer.detail, None)

    async def _deliver(self, job: Job, page: FetchedPage) -> None:
        self._limiter.succeeded(job.batch, job.partition)
        self._parking.succeeded(job.batch)
        if self._halt_of(job.batch):
            await self._set_aside(job)
            return
        try:
            await self._ports.delivery.rows(job, page)
        except Invalid as error:
            await self._dead(job, "too_large", str(error))
        else:
            self._done(job)

    async def _retry(self, job: Job, verdict: Retry) -> None:
        job.attempts += 1
        if job.attempts >= self._capacity.max_attempts:
            await self._dead(job, "attempts_exhausted", verdict.reason)
            return
        delay = full_jitter(job.attempts, random.random())  # noqa: S311 - not for secrets
        _log.info("retry", batch=job.batch.batch_id, attempt=job.attempts, reason=verdict.reason, seconds=delay)
        self._again(job, max(delay, verdict.retry_after or 0.0))

    async def _dead(self, job: Job, reason: str, detail: str) -> None:
        await self._ports.delivery.dead(job, reason, detail)
        self._done(job)

    async def _set_aside(self, job: Job) -> None:
        if job.partition not in self._trackers:
            return  # another owns it, and will find the halt
        control = self._halt_of(job.batch)
        reason = f"halted: {control.scope}: {control.reason}" if control else "cancelled"
        self._schedule.forget(job)
        await self._ports.delivery.set_aside(job, "halted", reason)
        self._done(job)

    async def _halt(self, job: Job, kind: str, reason: str, until: datetime | None) -> None:
        control = Control(
            scope=scope_of(job.batch, kind), state="halted", reason=reason, actor="fetcher", at=now(), until=until
        )
        # Ours holds at once; the others read it.
        self._ports.control.halts.apply(control)
        self.halts_changed()
        await self._ports.delivery.halt(control)
        _log.error("halted", scope=control.scope, reason=reason, until=str(until))

    def _set_aside_halted(self) -> None:
        if not self._ports.control.halts.active(now()):
            return
        for job in self._schedule.take_out(lambda job: self._halt_of(job.batch) is not None):
            self._spawn(self._aside(job), job.partition)

    async def _aside(self, job: Job) -> None:
        try:
            await self._set_aside(job)
        except Retryable:
            self._again(job, BROKER_PAUSE_S)

    def _halt_of(self, batch: Batch) -> Control | None:
        return self._ports.control.halts.blocking(scopes_of(batch), now())

    def _accept(self, record: Record, tracker: OffsetTracker) -> None:
        try:
            batch = codec.decode(Batch, record.value)
        except Invalid as error:
            self._spawn(self._bury(record, tracker, str(error)), record.partition)
            return
        job = Job(batch, record.partition, record.offset)
        known = self._catalog.property_by_url.get(batch.property)
        if known is None or known.credential != batch.credential:
            detail = f"the catalog has no property {batch.property} with credential {batch.credential}"
            self._spawn(self._refuse(job, detail), record.partition)
        elif not self._schedule.add(job, monotonic()):
            tracker.done(record.offset)

    async def _bury(self, record: Record, tracker: OffsetTracker, error: str) -> None:
        await _until_published(lambda: self._ports.delivery.poison(record, "undecodable", error))
        tracker.done(record.offset)

    async def _refuse(self, job: Job, detail: str) -> None:
        await _until_published(lambda: self._dead(job, "unknown_credential", detail))

    def _again(self, job: Job, delay_s: float) -> None:
        job.not_before = monotonic() + delay_s
        self._schedule.put_back(job)
        self._wake.set()

    def _done(self, job: Job) -> None:
        if tracker := self._trackers.get(job.partition):
            tracker.done(job.offset)

    # Tasks, drains and commits

    def _spawn(self, work: Awaitable[None], partition: int) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception as error:
                self._failure = error
                self._wake.set()

        task = asyncio.create_task(guarded())
        self._tasks[task] = partition
        task.add_done_callback(self._tasks.pop)

    def _cancel(self, jobs: Iterable[Job]) -> None:
        for job in list(jobs):
            self._calls[job].cancel()

    async def _drain(self, partitions: Sequence[int]) -> None:
        mine = {task for task, partition in self._tasks.items() if partition in partitions}
        if not mine:
            return
        _, late = await asyncio.wait(mine, timeout=self._capacity.drain_s)
        if late:
            _log.warning("drain_cut_short", calls=len(late), partitions=list(partitions))
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _drop(self, partitions: Iterable[int]) -> None:
        for partition in partitions:
            self._trackers.pop(partition, None)
            self._committed.pop(partition, None)

    def _commits(self, partitions: Iterable[int]) -> list[Commit]:
        return [
            Commit(partition, tracker.committable, tracker.metadata)
            for partition in partitions
            if (tracker := self._trackers.get(partition))
        ]

    async def _commit_regularly(self, stop: asyncio.Event) -> None:
        renewed = monotonic()
        while not await sleep_or_stop(stop, COMMIT_EVERY_S):
            commits = self._commits(list(self._trackers))
            due = monotonic() - renewed >= RENEW_EVERY_S
            changed = [commit for commit in commits if due or self._committed.get(commit.partition) != commit]
            if not changed:
                continue
            try:
                await self._member().commit(changed)
            except Retryable as error:
                _log.warning("commit_failed", error=str(error))
                continue
            renewed = monotonic() if due else renewed
            self._committed.update({c.partition: c for c in changed if c.partition in self._trackers})

    def _member(self) -> Member:
        if self.member is None:
            raise Fatal("the fetcher has no membership")
        return self.member


class _Permit:
    """A place among the pages in memory, given back once."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._held = False

    async def acquire(self) -> None:
        await self._places.acquire()
        self._held = True

    def release(self) -> None:
        if self._held:
            self._held = False
            self._places.release()


def _outcome(answer: FetchedPage | Verdict) -> str:
    return {FetchedPage: "ok", Retry: "retry", Wait: "throttled", Park: "parked", Refresh: "unauthorized"}.get(
        type(answer), "refused"
    )


async def _until_published(publish: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            return await publish()
        except Retryable:
            await asyncio.sleep(BROKER_PAUSE_S)
