"""What one check of the rate limiter costs, and a round of the fetcher's loops with thousands of properties."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from time import perf_counter_ns, thread_time_ns

from bench.results import log_progress, write
from fetcher.partition_status import Conditions, PartitionProgress, decide_status, view_of
from fetcher.quota_limits import QuotaLimits
from fetcher.rate_limiter import RateLimiter
from fetcher.schedule import Job, Schedule, Tenant
from lab.call_log import percentile
from pipeline.contracts.messages import Batch

PROPERTIES = 1000
MANY_PROPERTIES = 5000
ROUNDS = 1000
STARTED_AT = datetime(2026, 1, 1, tzinfo=UTC)
TOKEN_EVERY_S = 0.0645
"""At the default quota of a credential."""


def run(checks: int) -> None:
    """Measure `wait` and `take` of the limiter, and a wake of the call loop and a status of a partition."""
    write("limiter", {**_check_costs(checks), **_round_costs()})


def _check_costs(checks: int) -> dict[str, float]:
    """Return what a check costs, for a thousand properties in turn, without a pause between the checks."""
    limiter = RateLimiter(QuotaLimits(1200, 10**9, 10**9, 0.8, 8), 12)
    limiter.assigned([0], 0.0)
    batches = [_batch(number) for number in range(PROPERTIES)]
    costs_us = []
    granted = 0
    for number in range(checks):
        batch, now = batches[number % PROPERTIES], number / 20_000
        started = perf_counter_ns()
        if limiter.wait(batch, 0, now) <= 0:
            limiter.take(batch, 0, now)
            granted += 1
        costs_us.append((perf_counter_ns() - started) / 1000)
    log_progress(f"{granted} of {checks} calls were granted")
    return {
        "checks": checks,
        "granted": granted,
        "p50_us": percentile(costs_us, 0.5),
        "p99_us": percentile(costs_us, 0.99),
        "max_us": max(costs_us),
    }


class _Waits:
    """The waits for tokens at one moment."""

    def __init__(self, limiter: RateLimiter, now: float) -> None:
        self._limiter = limiter
        self._now = now

    def of_tenant(self, tenant: Tenant) -> float:
        return self._limiter.shared_wait(tenant.credential, tenant.partition, self._now)

    def of_job(self, job: Job) -> float:
        return max(job.not_before - self._now, self._limiter.property_wait(job.batch.property, 0, self._now))


def _round_costs() -> dict[str, float]:
    """Return the CPU time of a wake of the call loop and of the status, with two batches for each property."""
    limiter, schedule = RateLimiter(QuotaLimits(1200, 1200, 40_000, 0.8, 8), 12), Schedule()
    limiter.assigned([0], 0.0)
    schedule.assigned([0])
    for offset in range(2 * MANY_PROPERTIES):
        schedule.add(Job(_batch(offset % MANY_PROPERTIES, offset), 0, offset), 0.0)
    wakes_ms: list[float] = []
    statuses_ms: list[float] = []
    for number in range(ROUNDS):
        now = 10.0 + number * TOKEN_EVERY_S
        with _cpu_time(wakes_ms):
            _start_jobs(schedule, limiter, now)
        with _cpu_time(statuses_ms):
            _decide_status(schedule, limiter, now)
    log_progress(f"{ROUNDS} rounds with {MANY_PROPERTIES} properties, {len(schedule)} batches left")
    named = {"wake": wakes_ms, "status": statuses_ms}
    figures = {
        f"{name}_{label}_ms": percentile(costs, share)
        for name, costs in named.items()
        for label, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    }
    return {"properties": MANY_PROPERTIES, "rounds": ROUNDS, **figures}


@contextmanager
def _cpu_time(costs_ms: list[float]) -> Iterator[None]:
    """Append the CPU time of the block, in milliseconds."""
    started = thread_time_ns()
    yield
    costs_ms.append((thread_time_ns() - started) / 1e6)


def _start_jobs(schedule: Schedule, limiter: RateLimiter, now: float) -> None:
    while isinstance(job := schedule.next(now, _Waits(limiter, now)), Job):
        limiter.take(job.batch, job.partition, now)


def _decide_status(schedule: Schedule, limiter: RateLimiter, now: float) -> None:
    """Decide a status, and read what the metrics show, as the commit loop does."""
    conditions = Conditions(STARTED_AT, now, None, 0, (), lambda _: None)
    decide_status(view_of(0, conditions, PartitionProgress(1, 0.0), schedule, limiter))
    limiter.readings(now)
    limiter.busiest_property(now)


def _batch(number: int, page: int = 0) -> Batch:
    return Batch(
        batch_id=f"{number}-{page}",
        run_id="run",
        generation=1,
        priority="backfill",
        credential="reader",
        property=f"sc-domain:shop-{number}.example",
        report="by_date",
        search_type="web",
        dimensions=("date",),
        data_state="final",
        date=datetime(2026, 1, 1, tzinfo=UTC).date(),
        start_row=0,
        row_limit=25_000,
    )
