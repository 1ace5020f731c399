"""One batch: its call, and what the answer means for it, for the limiter and for the halts."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from fetcher.backoff import full_jitter
from fetcher.chunks import FetchedPage
from fetcher.error_policy import Dead, DeadAndHalt, Park, Refresh, Retry, Verdict, Wait
from fetcher.halting import parked_until, scope_of
from fetcher.ports import Admit, Ports
from fetcher.rate_limiter import RateLimiter
from fetcher.schedule import Job
from pipeline.clock import monotonic, now
from pipeline.contracts.halts import is_active, scopes_of
from pipeline.contracts.messages import Batch, Cause, Control
from pipeline.errors import Fatal, Invalid, Retryable
from pipeline.log import batch_fields, logger
from pipeline.metrics import counter, gauge, histogram

SOON_S = 0.25
BROKER_PAUSE_S = 2.0
TOKEN_PAUSE = 4
"""As after so many attempts."""

_log = logger(__name__)


@dataclass(frozen=True)
class Again:
    """The batch is to be tried again, not before so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Aside:
    """The batch is told to be owed again, since its scope is halted."""


@dataclass(frozen=True)
class Ended:
    """The batch is done with: its rows are delivered, or it is dead for this reason."""

    dead: str = ""


End = Again | Aside | Ended


@dataclass(frozen=True)
class NoToken:
    """No call was made: its credential's token cannot be had now."""

    reason: str


Answer = FetchedPage | Verdict | NoToken


class PageCalls:
    """Calls under way. `may_call` is asked again right before a call starts: is the partition ours, by a good lease."""

    def __init__(
        self, ports: Ports, limiter: RateLimiter, *, attempts: int, in_memory: int, may_call: Callable[[Job], bool]
    ) -> None:
        self._ports = ports
        self._limiter = limiter
        self._attempts = attempts
        self._memory = asyncio.Semaphore(in_memory)
        self._may_call = may_call
        self._calls: dict[Job, asyncio.Task[Answer]] = {}

    @property
    def calls(self) -> int:
        """How many are under way."""
        return len(self._calls)

    def trying(self, scope: str) -> bool:
        """Whether a call of that scope is under way."""
        return any(scope in scopes_of(job.batch) for job in self._calls)

    def halt_of(self, batch: Batch) -> Control | None:
        """The halt that holds the batch, if one does."""
        return self._ports.control.halts.blocking(scopes_of(batch), now())

    def cancel_halted(self) -> None:
        """End the calls of scopes that are halted now."""
        self._cancel(job for job in self._calls if self.halt_of(job.batch))

    def cancel_in(self, partitions: Iterable[int]) -> None:
        """End the calls of partitions that are another's."""
        mine = set(partitions)
        self._cancel(job for job in self._calls if job.partition in mine)

    def _cancel(self, jobs: Iterable[Job]) -> None:
        for job in list(jobs):
            self._calls[job].cancel()

    def begin(self, job: Job) -> Awaitable[End]:
        """Start a call, which counts from now on; what is returned is to be awaited for its end."""
        permit = _Permit(self._memory)
        self._calls[job] = asyncio.create_task(self._call(job, permit.acquire))
        gauge("gsc_calls_in_flight").set(len(self._calls))
        return self._finish(job, self._calls[job], permit)

    async def _finish(self, job: Job, call: asyncio.Task[Answer], permit: "_Permit") -> End:
        try:
            await asyncio.wait({call})
            self._ended(job)
            if not call.cancelled():
                answer = call.result()
                return self._postpone(job, answer) if isinstance(answer, NoToken) else await self._settle(job, answer)
            # Halted, or the lease ran out, or the partition is another's.
            return await self.defer(job) if self.halt_of(job.batch) else Again(SOON_S)
        except Retryable as error:  # Kafka is away: the page is fetched again, no attempt is counted
            _log.warning("not_delivered", error=str(error), **batch_fields(job.batch))
            return Again(BROKER_PAUSE_S)
        finally:
            self._ended(job)  # also when the drain is cut short, and we are cancelled
            permit.release()

    def _ended(self, job: Job) -> None:
        self._calls.pop(job, None)
        gauge("gsc_calls_in_flight").set(len(self._calls))

    async def _call(self, job: Job, admit: Admit) -> Answer:
        """One call, with a token; what may forbid it is looked at again after the token is there."""
        credential = job.batch.credential
        try:
            token = await self._ports.tokens.token(credential)
            if job.refreshed and token == job.refused_token:
                await self._ports.tokens.replace(credential, token)
                token = await self._ports.tokens.token(credential)
        except Retryable as error:
            return NoToken(str(error))
        except Fatal as error:
            return DeadAndHalt("credential", "credential", str(error))
        if self.halt_of(job.batch) or not self._may_call(job):
            raise asyncio.CancelledError
        job.began = began = monotonic()
        answer = await self._ports.search_console.query(job.batch, token, admit)
        histogram("gsc_call_seconds").observe(monotonic() - began)
        counter("gsc_calls_total").labels(credential, _outcome(answer)).inc()
        job.refused_token = token
        return answer

    async def _settle(self, job: Job, answer: FetchedPage | Verdict) -> End:
        match answer:
            case FetchedPage():
                return await self._deliver(job, answer)
            case Retry():
                return await self._retry(job, answer)
            case Wait():
                return self._slow_down(job, answer)
            case Park():
                return await self._park(job, answer)
            case Refresh() if not job.refreshed:
                job.refreshed = True
                return Again(0.0)
            case Refresh():  # the batch is good: it is owed until the credential is mended
                await self._halt(job, "credential", "unauthorized: a fresh token is refused", "credential")
                return await self.defer(job)
            case Dead():
                return await self.dead(job, answer.reason, answer.detail)
            case DeadAndHalt(scope="credential"):
                await self._halt(job, answer.scope, answer.detail, "credential")
                return await self.defer(job)
            case DeadAndHalt():
                await self._halt(job, answer.scope, answer.detail, "permission")
                return await self.dead(job, answer.reason, answer.detail)

    async def _deliver(self, job: Job, page: FetchedPage) -> End:
        self._limiter.succeeded(job.batch, job.partition)
        if trial := self._ports.control.halts.on_trial(scopes_of(job.batch), now()):
            await self._announce(trial.scope, "running", "the budget is back", "budget", None)
        if self.halt_of(job.batch):
            return await self.defer(job)
        try:
            await self._ports.delivery.rows(job, page)
        except Invalid as error:
            return await self.dead(job, "too_large", str(error))
        histogram("gsc_page_seconds").observe(monotonic() - job.began)
        return Ended()

    async def _retry(self, job: Job, verdict: Retry) -> End:
        job.attempts += 1
        if job.attempts >= self._attempts:
            return await self.dead(job, "attempts_exhausted", verdict.reason)
        delay = full_jitter(job.attempts, random.random())  # noqa: S311 - not for secrets
        about = batch_fields(job.batch)
        _log.info("retry", attempt=job.attempts, reason=verdict.reason, seconds=round(delay, 1), **about)
        return Again(max(delay, verdict.retry_after or 0.0))

    def _postpone(self, job: Job, answer: NoToken) -> End:
        """The page is not at fault, so this costs no attempt, however long it lasts."""
        delay = full_jitter(TOKEN_PAUSE, random.random())  # noqa: S311 - not for secrets
        _log.warning("no_token", error=answer.reason, retry_s=round(delay, 1), **batch_fields(job.batch))
        return Again(delay)

    def _slow_down(self, job: Job, verdict: Wait) -> End:
        scope = scope_of(job.batch, verdict.scope) if verdict.scope != "project" else "project"
        self._limiter.refused(job.batch, job.partition, verdict.scope, monotonic(), verdict.retry_after)
        counter("gsc_quota_refusals_total").labels(verdict.scope).inc()
        about = batch_fields(job.batch)
        _log.warning("quota_refused", scope=scope, reason=verdict.reason, retry_after=verdict.retry_after, **about)
        return Again(verdict.retry_after or 0.0)

    async def _park(self, job: Job, verdict: Park) -> End:
        scope = scope_of(job.batch, verdict.scope)
        before = self._ports.control.halts.on_trial([scope], now())
        until = parked_until(verdict, before, now())
        counter("gsc_quota_refusals_total").labels(verdict.scope).inc()
        await self._halt(job, verdict.scope, verdict.reason, "budget", until)
        return await self.defer(job)

    async def dead(self, job: Job, reason: str, detail: str) -> End:
        """Put the batch into the dead letters, and tell the ledger. Raises Retryable."""
        await self._ports.delivery.dead(job, reason, detail)
        return Ended(dead=f"{reason}: {detail}")

    async def defer(self, job: Job) -> End:
        """Tell that the batch is owed again: a scope of it is halted. Raises Retryable."""
        halt = self.halt_of(job.batch)
        await self._ports.delivery.defer(
            job, "halted", f"halted: {halt.scope}: {halt.reason}" if halt else "it was, a moment ago"
        )
        return Aside()

    async def _halt(self, job: Job, kind: str, reason: str, cause: Cause, until: datetime | None = None) -> None:
        """Halt a scope of the batch, unless it is halted for longer already."""
        scope = scope_of(job.batch, kind)
        held = self._ports.control.halts.blocking([scope], now())
        if held is None or (held.until is not None and (until is None or held.until < until)):
            await self._announce(scope, "halted", reason, cause, until)
            _log.error(
                "halted", scope=scope, reason=reason, until=until and until.isoformat(), **batch_fields(job.batch)
            )

    async def _announce(
        self, scope: str, state: Literal["running", "halted"], reason: str, cause: Cause, until: datetime | None
    ) -> None:
        control = Control(scope=scope, state=state, reason=reason, actor="fetcher", at=now(), until=until, cause=cause)
        # Ours holds at once; the others read it.
        self._ports.control.halts.apply(control)
        if is_active(control, now()):
            self.cancel_halted()
        await self._ports.delivery.control(control)


class _Permit:
    """A place among the pages in memory, given back once."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._held = False
        self._over = False

    async def acquire(self) -> None:
        """Wait for a place; whoever is over meanwhile needs none."""
        if not self._over:
            await self._places.acquire()
            self._held = True
            self._give_back_if_over()

    def release(self) -> None:
        self._over = True
        self._give_back_if_over()

    def _give_back_if_over(self) -> None:
        if self._over and self._held:
            self._held = False
            self._places.release()


def _outcome(answer: FetchedPage | Verdict) -> str:
    return {FetchedPage: "ok", Retry: "retry", Wait: "throttled", Park: "parked", Refresh: "unauthorized"}.get(
        type(answer), "refused"
    )
