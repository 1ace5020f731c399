"""One page: its access token, its call, and what the outcome means for the rate limiter, the halts and Kafka."""

import asyncio
import random
from collections.abc import Awaitable, Iterable
from dataclasses import replace

from msgspec import structs

from fetcher.assignment import Partitions
from fetcher.capacity import CallSlots, PageMemory, PagePermit
from fetcher.chunks import FetchedPage, UnchangedPage
from fetcher.error_policy import retry_delay, scope_of
from fetcher.halt_publisher import HaltPublisher
from fetcher.lost_permissions import PERMISSION_WINDOW_S, LostPermissions
from fetcher.outages import Outages
from fetcher.outcome import Dead, Deferred, Done, HaltOrder, Outcome, Retry, metric_label
from fetcher.ports import Ports
from fetcher.rate_limiter import Refusal
from fetcher.schedule import Job
from fetcher.settings import Capacity
from pipeline.clock import monotonic, now
from pipeline.contracts.halts import scopes_of
from pipeline.contracts.messages import Batch, Control
from pipeline.errors import Fatal, Invalid, Retryable
from pipeline.log import batch_fields, logger
from pipeline.metrics import counter, gauge, histogram

SOON_S = 0.25
BROKER_PAUSE_S = 2.0
_log = logger(__name__)


class PageCalls:
    """The calls in flight.

    A Done, Deferred or Dead that is returned has been published already. A Retry has its final delay in `after_s`;
    without one the page goes behind the others of its property.
    """

    def __init__(self, ports: Ports, partitions: Partitions, capacity: Capacity) -> None:
        self._ports = ports
        self._partitions = partitions
        self._capacity = capacity
        self._memory = PageMemory(capacity.max_in_flight, capacity.max_in_flight_bytes)
        self._calls: dict[Job, asyncio.Task[Outcome]] = {}
        self._halts = HaltPublisher(ports, partitions.schedule, self.cancel_halted)
        self._lost_permissions = LostPermissions()
        self.outages = Outages()
        self.slots = CallSlots(capacity.max_concurrency)

    def __len__(self) -> int:
        return len(self._calls)

    def halt_of(self, batch: Batch) -> Control | None:
        """Return the halt that is active for a batch, or None."""
        return self._ports.control.halts.blocking(scopes_of(batch), now())

    def is_halted(self, scopes: Iterable[str]) -> bool:
        """Whether one of these scopes is halted."""
        return self._ports.control.halts.blocking(scopes, now()) is not None

    def is_probed(self, scopes: Iterable[str]) -> bool:
        """Whether a budget halt of a scope has ended, and a call in flight tests whether the budget is available."""
        ended = self._ports.control.halts.ended_budget_halt(scopes, now())
        return ended is not None and any(ended.scope in scopes_of(job.batch) for job in self._calls)

    def cancel_halted(self) -> None:
        """Cancel the calls whose scopes are halted."""
        self._cancel(job for job in self._calls if self.halt_of(job.batch))

    def cancel_partitions(self, partitions: Iterable[int]) -> None:
        """Cancel the calls of these partitions."""
        numbers = set(partitions)
        self._cancel(job for job in self._calls if job.partition in numbers)

    def _cancel(self, jobs: Iterable[Job]) -> None:
        for job in list(jobs):
            self._calls[job].cancel()

    def start(self, job: Job) -> Awaitable[Outcome]:
        """Start a call, which counts as in flight from now on; the result must be awaited."""
        self.outages.started(job, monotonic())
        permit = self._memory.permit(job.batch)
        call = self._calls[job] = asyncio.create_task(self._call(job, permit))
        self.slots.take(job.batch)
        gauge("gsc_calls_in_flight").set(len(self._calls))
        return self._finish(job, call, permit)

    async def _finish(self, job: Job, call: asyncio.Task[Outcome], permit: PagePermit) -> Outcome:
        try:
            await asyncio.wait({call})
            self._remove(job)
            return await self._act(job, self._interrupted(job) if call.cancelled() else call.result())
        except Retryable as error:
            return _unpublished(job, error)
        finally:
            self._remove(job)  # also when a drain that is cut short cancels this coroutine
            permit.release()

    def _remove(self, job: Job) -> None:
        if self._calls.pop(job, None):
            self.slots.release(job.batch)
        self.outages.cancelled(job)
        gauge("gsc_calls_in_flight").set(len(self._calls))

    def _interrupted(self, job: Job) -> Outcome:
        """Return the outcome of a call that was cancelled or must not start: a halt, or a lost partition or lease."""
        return Deferred("halted") if self.halt_of(job.batch) else Retry("interrupted", after_s=SOON_S, counts=False)

    async def _call(self, job: Job, permit: PagePermit) -> Outcome:
        credential = job.batch.credential
        try:
            token = await self._ports.tokens.token(credential)
        except Retryable as error:
            _log.warning("no_access_token", error=str(error), **batch_fields(job.batch))
            return self._recorded(job, Retry(str(error), counts=False, outage=True))
        except Fatal as error:
            return Deferred("credential", HaltOrder("credential", "credential", str(error)))
        if failure := await self._try_reference_page(job, token):
            return self._recorded(job, failure)
        # Checked again, since a token and a reference page take their time.
        if self.halt_of(job.batch) or not self._may_call(job):
            return self._interrupted(job)
        job.call_started = started = monotonic()
        outcome = await self._ports.api.query(job.batch, token, permit)
        histogram("gsc_call_seconds").observe(monotonic() - started)
        counter("gsc_calls_total").labels(credential, metric_label(outcome)).inc()
        return self._recorded(job, self._with_token_judged(credential, token, outcome))

    async def _try_reference_page(self, job: Job, token: str) -> Retry | None:
        """In an outage, ask for a page that was fetched before; return its failure, or None if the job may be tried."""
        page, limiter, moment = self.outages.reference_page(job), self._partitions.limiter, monotonic()
        if page is None or not self._may_call(job) or limiter.wait(page, job.partition, moment) > 0:
            return None
        limiter.take(page, job.partition, moment)
        no_limit = PageMemory(1, 1).permit(page)  # a page of one row needs no room
        try:
            outcome = await self._ports.api.query(page, token, no_limit)
        finally:
            no_limit.release()  # in an HTTP batch it shares the room of the other pages
        counter("gsc_calls_total").labels(page.credential, metric_label(outcome)).inc()
        if isinstance(outcome, Retry) and (outcome.counts or outcome.outage):
            return replace(outcome, counts=False, outage=True)
        self.outages.reference_succeeded(job, moment, monotonic())
        return None

    def _recorded(self, job: Job, outcome: Outcome) -> Outcome:
        """Return the outcome after it was recorded: it may be part of an outage, or end one."""
        self.outages.ended(job, outcome, monotonic())
        return outcome

    def _with_token_judged(self, credential: str, token: str, outcome: Outcome) -> Outcome:
        """Record whether the API accepted the token. Return the outcome, or a halt when the credential is refused."""
        match outcome:
            case Retry(refresh_token=True):
                if self._ports.tokens.refused(credential, token):
                    reason = "unauthorized: the API refuses a new access token, too"
                    return Deferred(outcome.reason, HaltOrder("credential", "credential", reason))
            case _:
                self._ports.tokens.accepted(credential, token)
        return outcome

    def _may_call(self, job: Job) -> bool:
        """Whether the job's partition is held, under a lease that has not expired."""
        return job.partition in self._partitions.assignment and monotonic() < self._ports.member.lease_until

    # Acting on an outcome

    async def _act(self, job: Job, outcome: Outcome) -> Outcome:
        match outcome:
            case Done(page):
                return await self._publish_page(job, page)
            case Retry():
                return await self._retry(job, outcome)
            case Deferred():
                return await self._defer(job, outcome)
            case Dead(reason="permission"):
                return await self._lose_permission(job, outcome)
            case Dead():
                return await self.dead_letter(job, outcome)

    async def _publish_page(self, job: Job, page: FetchedPage | UnchangedPage) -> Outcome:
        self._partitions.limiter.succeeded(job.batch, job.partition, job.call_started, monotonic())
        self._lost_permissions.succeeded(job.batch.credential, job.batch.property, monotonic())
        await self._halts.end_probe(job.batch)
        if self.halt_of(job.batch):
            return await self._defer(job, Deferred("halted"))
        try:
            await self._ports.results.page(job, page)
        except Invalid as error:
            return await self.dead_letter(job, Dead("too_large", str(error)))
        histogram("gsc_page_seconds").observe(monotonic() - job.call_started)
        return Done(page)

    async def _retry(self, job: Job, retry: Retry) -> Outcome:
        """Return the retry with its final delay; a page without attempts left is dead."""
        about = batch_fields(job.batch)
        if retry.throttled is not None:
            after_s, scope = retry.after_s or None, scope_of(job.batch, retry.throttled)
            refusal = Refusal(retry.throttled, job.call_started, after_s)
            self._partitions.limiter.refused(job.batch, job.partition, refusal, monotonic())
            counter("gsc_quota_refusals_total").labels(retry.throttled).inc()
            _log.warning("quota_refused", scope=scope, reason=retry.reason, retry_after=after_s, **about)
        if retry.counts:  # what follows the colon differs from call to call
            counter("gsc_failed_calls_total").labels(job.batch.credential, retry.reason.partition(":")[0]).inc()
        if self.outages.in_progress(job):  # the circuit decides when the next call starts
            return replace(retry, after_s=retry.after_s or None)
        if retry.counts and job.fails_alone and job.attempts >= self._capacity.max_attempts:
            return await self.dead_letter(job, Dead("attempts_exhausted", retry.reason))
        job.failure = retry.reason
        delay = retry_delay(retry, job.attempts, random.random())  # noqa: S311 - not for secrets
        if retry.counts:
            _log.info("retry", attempt=job.attempts, reason=retry.reason, seconds=round(delay, 1), **about)
        return replace(retry, after_s=delay)

    async def defer(self, job: Job) -> Outcome:
        """Publish that a page is pending again whose scope is halted; a Retry while Kafka is unreachable."""
        try:
            return await self._defer(job, Deferred("halted"))
        except Retryable as error:
            return _unpublished(job, error)

    async def _defer(self, job: Job, deferred: Deferred) -> Outcome:
        if deferred.halt is not None:
            await self.halt(job.batch, deferred.halt)
        halt = self.halt_of(job.batch)
        detail = f"halted: {halt.scope}: {halt.reason}" if halt else "halted: the halt has ended meanwhile"
        await self._ports.results.deferred(job, "halted", detail)
        return deferred

    async def move(self, job: Job, credential: str) -> Outcome:
        """Publish that a page is pending again, for another credential of its property. Raises Retryable."""
        moved = replace(job, batch=structs.replace(job.batch, credential=credential))
        await self._ports.results.deferred(moved, "moved", f"the property has moved to credential {credential}")
        return Deferred("moved")

    async def _lose_permission(self, job: Job, dead: Dead) -> Outcome:
        """Halt the property, or its credential when that has lost most of its properties."""
        batch = job.batch
        if self.halt_of(batch):
            return await self._defer(job, Deferred("halted"))
        lost = self._lost_permissions.refused(batch.credential, batch.property, monotonic())
        if not lost:
            return await self.dead_letter(job, dead)
        reason = (
            f"no permission for {len(lost)} of its properties, and hardly any other was read, in the last"
            f" {PERMISSION_WINDOW_S / 60:.0f} minutes, the last one {batch.property}: {dead.detail}"
        )
        outcome = await self._defer(job, Deferred("permission", HaltOrder("credential", "permission", reason)))
        await self._halts.supersede(batch.credential, lost)
        return outcome

    async def halt(self, batch: Batch, order: HaltOrder) -> None:
        """Halt a scope of a batch, unless it is halted for longer already. Raises Retryable."""
        await self._halts.halt(batch, order)

    async def reject(self, job: Job, dead: Dead) -> Outcome:
        """Dead-letter a batch that must not be called, or defer it when it is halted. Raises Retryable."""
        return await (self._defer(job, Deferred("halted")) if self.halt_of(job.batch) else self.dead_letter(job, dead))

    async def dead_letter(self, job: Job, dead: Dead) -> Outcome:
        """Dead-letter a batch, and halt the scope that `dead.halt` names. Raises Retryable."""
        if dead.halt is not None:
            await self.halt(job.batch, dead.halt)
        await self._ports.results.dead(job, dead.reason, dead.detail)
        return dead


def _unpublished(job: Job, error: Retryable) -> Retry:
    """Return the outcome of a page that Kafka did not acknowledge: it is fetched again, and no attempt is counted."""
    _log.warning("not_published", error=str(error), **batch_fields(job.batch))
    return Retry(str(error), after_s=BROKER_PAUSE_S, counts=False)
