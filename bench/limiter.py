"""What one check of the rate limiter costs."""

from datetime import UTC, datetime
from time import perf_counter_ns

from bench.results import log_progress, write
from fetcher.rate_limiter import QuotaLimits, RateLimiter
from lab.call_log import percentile
from pipeline.contracts.messages import Batch

PROPERTIES = 1000


def run(checks: int) -> None:
    """Measure `wait` and `take` for a thousand properties in turn, without a pause between the checks."""
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
    figures = {"p50_us": percentile(costs_us, 0.5), "p99_us": percentile(costs_us, 0.99), "max_us": max(costs_us)}
    write("limiter", {"checks": checks, "granted": granted, **figures})


def _batch(number: int) -> Batch:
    return Batch(
        batch_id=str(number),
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
