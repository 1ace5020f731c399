"""The status of a partition, decided from what its owner knows. Pure.

`view_of` collects what is known of a partition, `decide_status` gives it one word. The table is in docs/states.md.
"""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Literal, NamedTuple

from fetcher.rate_limiter import RateLimiter
from fetcher.schedule import Job, Schedule, Tenant
from pipeline.contracts.halts import ALL, end_of
from pipeline.contracts.messages import Control
from pipeline.contracts.partition_status import NOTHING_TO_DO, PartitionStatus

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


@dataclass(frozen=True)
class View:
    """What is known of one partition."""

    conditions: Conditions
    progress: PartitionProgress
    scopes: Set[str]
    """The halt scopes of its recent batches."""
    wait_reason: str
    """What its next batch waits for, and until when."""
    wait_end: datetime | None


def view_of(
    partition: int, conditions: Conditions, progress: PartitionProgress, schedule: Schedule, limiter: RateLimiter
) -> View:
    """Return what is known of a partition."""
    moment = conditions.monotonic_at
    job = schedule.soonest(partition, moment, partial(_shared_wait, conditions, limiter))
    outage = conditions.outage_of(job.batch.credential) if job else None
    wait, reason = _own_wait(job, limiter, moment) if job else (0.0, "")
    return View(
        conditions,
        progress,
        scopes=schedule.scopes(partition),
        wait_reason=outage.reason if outage else reason,
        wait_end=_wait_end(conditions.at, wait, outage),
    )


def _own_wait(job: Job, limiter: RateLimiter, moment: float) -> tuple[float, str]:
    """Return the seconds that a job waits, and for what: a token, or another try after a failure of its own."""
    pace, retry_s = limiter.pace(job.batch, job.partition, moment), job.not_before - moment
    if pace and pace.seconds >= retry_s:
        return pace.seconds, str(pace)
    failure = f": {job.failure}" if job.failure else ""
    return retry_s, f"property {job.batch.property} waits for a retry{failure}"


def _shared_wait(conditions: Conditions, limiter: RateLimiter, tenant: Tenant) -> float:
    outage = conditions.outage_of(tenant.credential)
    tokens = limiter.shared_wait(tenant.credential, tenant.partition, conditions.monotonic_at)
    return max(tokens, outage.wait_s) if outage else tokens


def _wait_end(at: datetime, wait_s: float, outage: OpenCircuit | None) -> datetime | None:
    """Return when the next call may start; None when it may start now and there is no outage."""
    if outage:
        return at + timedelta(seconds=max(wait_s, outage.wait_s))
    return at + timedelta(seconds=wait_s) if wait_s > 0 else None


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
    if view.wait_end is not None:
        return PartitionStatus("THROTTLED", at, view.wait_reason, view.wait_end)
    if view.progress.idle_s > STALLED_AFTER_S:
        return PartitionStatus("STALLED", at, f"no call has started or ended for {view.progress.idle_s:.0f} s")
    return PartitionStatus("OK", at, f"{in_flight} batches in progress")


def _halted(at: datetime, halts: Sequence[Control]) -> PartitionStatus:
    return PartitionStatus("HALTED", at, "; ".join(f"{halt.scope}: {halt.reason}" for halt in halts), end_of(halts))
