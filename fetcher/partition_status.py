"""The status of a partition, decided from what its owner knows. Pure.

`view_of` collects what is known of a partition, `decide_status` gives it one word. The table is in docs/states.md.
"""

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from fetcher.rate_limiter import RateLimiter
from fetcher.schedule import Job, Schedule
from pipeline.contracts.halts import ALL, end_of
from pipeline.contracts.messages import Control
from pipeline.contracts.partition_status import MAX_WAITS, NOTHING_TO_DO, CredentialWait, PartitionStatus, WaitKind

STALLED_AFTER_S = 180.0
"""Longer than a call may take. When nothing has happened for so long without a known reason, a partition is stalled."""

Blocker = Literal["control", "lease", "backpressure"]
"""Why no call may start in the whole process."""

_STALLS: dict[str | None, str] = {
    "control": "the control topic cannot be read, so halts are not known",
    "lease": "the lease on the partitions has expired: no commit has succeeded recently",
}


class OpenCircuit(NamedTuple):
    """Why the calls of a credential wait for the end of an outage, and the seconds until the next one tries."""

    reason: str
    wait_s: float


class PartitionProgress(NamedTuple):
    """Records of a partition that are read and not done, and the seconds since one was last started or ended."""

    in_flight: int
    idle_s: float


@dataclass(frozen=True)
class Conditions:
    """What holds for every partition of the process at one moment."""

    at: datetime
    monotonic_at: float
    blocker: Blocker | None
    sink_lag: int
    halts: Sequence[Control]
    """Active halts, of any scope."""
    outage_of: Callable[[str], OpenCircuit | None]
    """The outage that the calls of a credential wait for, or None."""


class BatchWait(NamedTuple):
    """What the next batch of a credential waits for."""

    credential: str
    kind: WaitKind
    seconds: float
    """0: for nothing; but in an outage it waits for the result of another call."""
    reason: str

    @property
    def is_over(self) -> bool:
        """Whether the batch may start now."""
        return self.seconds <= 0 and self.kind != "outage"


@dataclass(frozen=True)
class View:
    """What is known of one partition."""

    conditions: Conditions
    progress: PartitionProgress
    scopes: Set[str]
    """The halt scopes of its recent batches."""
    waits: Sequence[BatchWait]
    """Of each credential with queued batches."""


def view_of(
    partition: int, conditions: Conditions, progress: PartitionProgress, schedule: Schedule, limiter: RateLimiter
) -> View:
    """Return what is known of a partition."""
    heads = schedule.heads(partition, conditions.monotonic_at)
    waits = [_wait_of(job, queued_s, conditions, limiter) for job, queued_s in heads]
    return View(conditions, progress, scopes=schedule.scopes(partition), waits=waits)


def _wait_of(job: Job, queued_s: float, conditions: Conditions, limiter: RateLimiter) -> BatchWait:
    """Return what a job waits for: the end of an outage, a token, or another try after a failure of its own."""
    credential, moment = job.batch.credential, conditions.monotonic_at
    pace, retry_s = limiter.pace(job.batch, job.partition, moment), job.not_before - moment
    seconds = max(queued_s, retry_s, pace.seconds if pace else 0.0)
    if outage := conditions.outage_of(credential):
        return BatchWait(credential, "outage", max(seconds, outage.wait_s), outage.reason)
    if pace and pace.seconds >= retry_s:
        return BatchWait(credential, "throttled", seconds, str(pace))
    failure = f": {job.failure}" if job.failure else ""
    return BatchWait(credential, "throttled", seconds, f"property {job.batch.property} waits for a retry{failure}")


def decide_status(view: View) -> PartitionStatus:
    """Return the status of a partition, with its reason and, if it is known, its end."""
    conditions, in_flight = view.conditions, view.progress.in_flight
    at = conditions.at
    if conditions.blocker in _STALLS:
        return PartitionStatus("STALLED", at, _STALLS[conditions.blocker])
    halts = [halt for halt in conditions.halts if halt.scope == ALL or halt.scope in view.scopes]
    if halts and (halts[0].scope == ALL or not in_flight):
        return _halted(at, halts)
    if not in_flight:
        return PartitionStatus("OK", at, NOTHING_TO_DO)
    if conditions.blocker == "backpressure":
        return PartitionStatus("BACKPRESSURED", at, f"the sink is {conditions.sink_lag} results behind")
    soonest = min(view.waits, key=lambda wait: wait.seconds, default=None)
    if soonest and not soonest.is_over:
        until = at + timedelta(seconds=soonest.seconds)
        return PartitionStatus("THROTTLED", at, soonest.reason, until, _longest(view.waits, at))
    if view.progress.idle_s > STALLED_AFTER_S:
        return PartitionStatus("STALLED", at, f"no call has started or ended for {view.progress.idle_s:.0f} s")
    return PartitionStatus("OK", at, f"{in_flight} batches in progress", waits=_longest(view.waits, at))


def _longest(waits: Iterable[BatchWait], at: datetime) -> tuple[CredentialWait, ...]:
    """Return the longest waits."""
    longest = sorted((wait for wait in waits if not wait.is_over), key=lambda wait: -wait.seconds)[:MAX_WAITS]
    return tuple(
        CredentialWait(wait.credential, wait.kind, wait.reason, at + timedelta(seconds=wait.seconds))
        for wait in longest
    )


def _halted(at: datetime, halts: Sequence[Control]) -> PartitionStatus:
    return PartitionStatus("HALTED", at, "; ".join(f"{halt.scope}: {halt.reason}" for halt in halts), end_of(halts))
