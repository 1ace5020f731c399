"""The loop that starts calls: which batch is next, whether a call may start, and what its outcome does to the batch."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import NamedTuple, TypeVar

from fetcher.assignment import Partitions
from fetcher.dead_letter_limits import DeadLetterLimits
from fetcher.outcome import Dead, Deferred, Done, Outcome, Retry
from fetcher.page_call import BROKER_PAUSE_S, SOON_S, PageCalls
from fetcher.partition_status import Blocker, OpenCircuit
from fetcher.ports import Ports
from fetcher.schedule import Job, Tenant
from pipeline.clock import monotonic, now
from pipeline.contracts.halts import credential_scopes, scopes_of
from pipeline.contracts.records import Record
from pipeline.errors import Retryable
from pipeline.log import logger
from pipeline.metrics import counter, gauge
from pipeline.process import event_or_timeout
from pipeline.watchdog import Heartbeat

T = TypeVar("T")
CALL_LIMIT_S = 30.0
"""The loop wakes up twice a second; starting the calls that may start takes no time."""
_log = logger(__name__)


class LoopWait(NamedTuple):
    """The seconds until another call may start, and what is waited for: a value of the metric's label `reason`."""

    seconds: float
    reason: str


class CallLoop:
    """Starts calls, and applies their outcomes to the queues and offsets.

    `batch_ended` is set whenever a batch is done or dead, so that its offset can be committed.
    """

    def __init__(
        self,
        ports: Ports,
        partitions: Partitions,
        calls: PageCalls,
        dead_letters: DeadLetterLimits,
        batch_ended: asyncio.Event,
        credential_of: Callable[[str], str | None],
    ) -> None:
        """`credential_of`: returns the credential of a property in the catalog, or None."""
        self._ports = ports
        self._partitions = partitions
        self._calls = calls
        self._dead_letters = dead_letters
        self._batch_ended = batch_ended
        self._credential_of = credential_of
        self._wake = asyncio.Event()
        self._halted: set[str] = set()
        self._tasks = _Tasks(self._wake)
        self.heartbeat = Heartbeat("call loop", CALL_LIMIT_S, monotonic())

    def wake(self) -> None:
        """Look again for batches that can start, since something has changed."""
        self._wake.set()

    def halts_changed(self) -> None:
        """Look again for the batches of the scopes whose halts have begun or ended."""
        halted = {control.scope for control in self._ports.control.halts.active(now())}
        for scope in halted ^ self._halted:
            self._partitions.schedule.wake_scope(scope)
        self._halted = halted
        self.wake()

    async def run(self, stop: asyncio.Event) -> None:
        """Start calls until `stop`; calls in flight go on. Raises what a batch's task has raised, such as Fatal."""
        while not stop.is_set():
            self.heartbeat.beat(monotonic())
            self._wake.clear()
            wait = self.start_calls()
            started = monotonic()
            await event_or_timeout(self._wake, min(wait.seconds, SOON_S))
            counter("gsc_wait_seconds_total").labels(wait.reason).inc(monotonic() - started)
            self._tasks.check()

    def start_calls(self) -> LoopWait:
        """Start every call that may start now."""
        gauge("gsc_queued_batches").set(len(self._partitions.schedule))
        while True:
            moment = monotonic()
            if blocker := self.blocker(moment):
                return LoopWait(SOON_S, blocker)
            job = self._partitions.schedule.next(moment, _Waits(self._calls, self._partitions, moment))
            if not isinstance(job, Job):
                return LoopWait(job, self._wait_reason())
            self._start(job, moment)

    def _wait_reason(self) -> str:
        if len(self._partitions.schedule):
            if self._calls.outages.any:
                return "outage"
            full = all(map(self._calls.slots.is_full, self._partitions.schedule.credentials))
            return "concurrency" if full else "tokens"
        if len(self._calls):
            return "http"
        return "publishing" if len(self._tasks) else "idle"

    def blocker(self, moment: float) -> Blocker | None:
        """Return why no call at all may start, or None."""
        if not self._ports.control.readable(moment):
            return "control"
        if moment >= self._ports.member.lease_until:
            return "lease"
        if self._ports.backpressure.paused:
            return "backpressure"
        return None

    def outage_of(self, credential: str) -> OpenCircuit | None:
        """Return the outage that the calls of a credential wait for, or None."""
        reason = self._calls.outages.reason(credential)
        return OpenCircuit(reason, self._calls.outages.wait(credential, monotonic())) if reason else None

    def _start(self, job: Job, moment: float) -> None:
        """Start the call of a job, or defer it when its property has moved to another credential, or is halted."""
        self._partitions.assignment.mark_active(job.partition, moment)
        credential = self._credential_of(job.batch.property)
        if credential not in (None, job.batch.credential):
            self.move(job, credential)
            return
        if self._calls.halt_of(job.batch):
            self._tasks.spawn(self._settle(job, self._calls.defer(job)), job.partition)
            return
        if not self._take_token(job, moment):
            self._partitions.schedule.put_back(job)
            return
        self._partitions.assignment.mark_called(job)
        gauge("gsc_batches_uncommitted").set(self._partitions.assignment.uncommitted_calls)
        self._tasks.spawn(self._settle(job, self._calls.start(job)), job.partition)

    def _take_token(self, job: Job, moment: float) -> bool:
        """Take a token of every scope, or of none; return whether they were taken."""
        warnings = self._partitions.limiter.take(job.batch, job.partition, moment)
        for warning in warnings or ():
            counter("gsc_quota_warnings_total").labels(warning.kind).inc()
            scope = f"{warning.kind} {warning.name}".strip()
            _log.warning("quota_nearly_spent", scope=scope, calls=warning.calls, quota=warning.quota_qpm)
        return warnings is not None

    async def _settle(self, job: Job, ending: Awaitable[Outcome]) -> None:
        """Wait for the outcome of a job, and apply it."""
        outcome = await ending
        self._partitions.assignment.mark_active(job.partition, monotonic())
        self._partitions.schedule.wake(job)
        self._wake.set()
        match outcome:
            case Retry():
                job.not_before = 0.0 if outcome.after_s is None else monotonic() + outcome.after_s
                self._partitions.schedule.put_back(job)
            case Deferred():
                self._partitions.schedule.forget(job)
                self._partitions.assignment.mark_done(job)
            case Dead():
                self._partitions.schedule.forget(job)  # an operator may redrive it, under the same id
                self._end(job)
                if outcome.counts and outcome.halt is None:  # otherwise its scope is halted already
                    await self._count_dead(job, outcome)
            case Done():
                self._end(job)
                self._dead_letters.record_done(job.batch)

    async def _count_dead(self, job: Job, dead: Dead) -> None:
        """Count a dead letter, and halt its property, or the credential of several, when there are too many."""
        if order := self._dead_letters.record_dead(job.batch, f"{dead.reason}: {dead.detail}"):
            await _until_published(lambda: self._calls.halt(job.batch, order))

    def _end(self, job: Job) -> None:
        self._partitions.assignment.mark_done(job)
        self._batch_ended.set()

    def reject(self, job: Job, dead: Dead) -> None:
        """Dead-letter a batch that must not be called, or defer it when it is halted."""
        ending = _until_published(lambda: self._calls.reject(job, dead))
        self._tasks.spawn(self._settle(job, ending), job.partition)

    def move(self, job: Job, credential: str) -> None:
        """Defer a batch of a property that has moved to another credential: its page is pending there."""
        ending = _until_published(lambda: self._calls.move(job, credential))
        self._tasks.spawn(self._settle(job, ending), job.partition)

    def reject_record(self, record: Record, error: str) -> None:
        """Dead-letter a message that cannot be decoded."""
        self._tasks.spawn(self._dead_letter_record(record, error), record.partition)

    async def _dead_letter_record(self, record: Record, error: str) -> None:
        await _until_published(lambda: self._ports.results.dead_record(record, "undecodable", error))
        self._partitions.assignment.mark_done(record)
        self._dead_letters.of_partitions.record_dead(record.partition, f"undecodable: {error}")

    async def drain(self, partitions: Sequence[int], timeout_s: float) -> None:
        """Wait for the batches of these partitions that are in progress; cancel those that take longer."""
        late = await self._tasks.drain(partitions, timeout_s)
        if late:
            _log.warning("drain_cut_short", calls=late, partitions=list(partitions))
            self._calls.cancel_partitions(partitions)
            await self._tasks.cancel(partitions)


async def _until_published(publish: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await publish()
        except Retryable:
            await asyncio.sleep(BROKER_PAUSE_S)


class _Waits(NamedTuple):
    """The waits at one moment. A job that is halted need not wait, since it is deferred without a call."""

    calls: PageCalls
    partitions: Partitions
    moment: float

    def of_tenant(self, tenant: Tenant) -> float:
        """Return the wait for what all batches of a credential share: a slot, its tokens, the end of an outage.

        It is looked at every SOON_S.
        """
        scopes = credential_scopes(tenant.credential, self.partitions.limiter.project_of(tenant.credential))
        if self.calls.is_halted(scopes):
            return 0.0
        if self.calls.slots.is_full(tenant.credential):
            return SOON_S
        tokens = self.partitions.limiter.shared_wait(tenant.credential, tenant.partition, self.moment)
        outage = self.calls.outages.wait(tenant.credential, self.moment)
        return min(max(tokens, outage, self._probe(scopes)), SOON_S)

    def of_job(self, job: Job) -> float:
        """Return the wait for the tokens of its property, for a slot of its share, and for its retry."""
        batch = job.batch
        if self.calls.halt_of(batch):
            return 0.0
        tokens = self.partitions.limiter.property_wait(batch.property, job.partition, self.moment)
        share = SOON_S if self.calls.slots.is_share_used(batch, self.partitions.schedule.others_wait(job)) else 0.0
        return max(job.not_before - self.moment, tokens, share, self._probe(scopes_of(batch)))

    def _probe(self, scopes: Iterable[str]) -> float:
        return SOON_S if self.calls.is_probed(scopes) else 0.0


class _Tasks:
    """Background tasks by partition. When one fails, `wake` is set, and `check` raises its error."""

    def __init__(self, wake: asyncio.Event) -> None:
        self._wake = wake
        self._partitions: dict[asyncio.Task[None], int] = {}
        self._failure: BaseException | None = None

    def __len__(self) -> int:
        return len(self._partitions)

    def spawn(self, work: Awaitable[None], partition: int) -> None:
        task = asyncio.create_task(self._guard(work))
        self._partitions[task] = partition
        task.add_done_callback(self._partitions.pop)

    async def _guard(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:
            self._failure = error
            self._wake.set()

    def check(self) -> None:
        """Raise the error of a task that has failed."""
        if self._failure is not None:
            raise self._failure

    async def drain(self, partitions: Collection[int], timeout_s: float) -> int:
        """Wait for the tasks of these partitions; returns how many have not ended in time."""
        tasks = self._of(partitions)
        return len((await asyncio.wait(tasks, timeout=timeout_s))[1]) if tasks else 0

    async def cancel(self, partitions: Collection[int]) -> None:
        tasks = self._of(partitions)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _of(self, partitions: Collection[int]) -> set[asyncio.Task[None]]:
        return {task for task, partition in self._partitions.items() if partition in partitions}
