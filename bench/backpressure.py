"""Backpressure while the sink is stopped: what stops, how much is queued, and whether anything is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import psutil

from bench.environment import (
    NO_QUOTAS,
    reports_of,
    rss_mb,
    running_environment,
    running_pipeline,
    start_fetcher,
    wait_until_finished,
)
from bench.results import log_progress, write
from lab.driver import Driver
from lab.scenario import Scenario
from pipeline.clock import monotonic
from pipeline.retry import with_retries

MAX_QUEUE_SIZE = 1000
STOP_LAG = 800
"""Results of sink lag at which the fetchers stop starting calls."""
PAGES_BEFORE_STOP = 200
SETTLE_S = 3.0
"""The fetchers read the sink's lag every second, and calls in flight have to end."""
SCENARIO = Scenario(days=200, properties=2, rows=20, latency_s=0.1, full_days=False)
SEARCH_TYPES = ("web", "image", "video", "news")
UNLIMITED = {"GSC_SITE_QPM": "100000", "GSC_USER_QPM": "100000", "GSC_PROJECT_QPM": "1000000"}


@dataclass
class Samples:
    """Samples of every second."""

    queue: list[int] = field(default_factory=list)
    """Consumer lag of the fetchers."""
    sink_lag: list[int] = field(default_factory=list)
    rss_mb: dict[str, list[float]] = field(default_factory=dict)
    """Resident memory by service."""


@dataclass(frozen=True)
class SinkPause:
    """When the sink was stopped, when the fetchers had to stop, and when the sink started, on the monotonic clock."""

    stopped: float
    limit_reached: float | None
    """When the sink's lag reached STOP_LAG; None: never."""
    restarted: float


def run(pause_s: float) -> None:
    """Stop the sink during a backfill, start it again after `pause_s` seconds, and write the figures."""
    settings = {"GSC_MAX_QUEUE_SIZE": str(MAX_QUEUE_SIZE), **UNLIMITED}
    with (
        running_environment(SCENARIO, NO_QUOTAS, reports_of(*SEARCH_TYPES)) as environment,
        running_pipeline(environment, "backpressure", **settings) as driver,
    ):
        start_fetcher(driver, "fetcher-1")
        start_fetcher(driver, "fetcher-2")
        write("backpressure", asyncio.run(_measure(driver, pause_s)))


async def _measure(driver: Driver, pause_s: float) -> dict[str, object]:
    samples = Samples()
    async with _sampling(driver, samples):
        run = await driver.request_sync(SCENARIO.days)
        while (await driver.pages(run)).get("applied", 0) < PAGES_BEFORE_STOP:
            await asyncio.sleep(0.2)
        pause = await _stop_sink(driver, samples, pause_s)
        calls_while_stopped = _calls_while_stopped(driver, pause)
        log_progress("starting the sink again")
        driver.services.start("sink")
        pages = await wait_until_finished(driver, run)
    return {
        "queue_max": max(samples.queue),
        "queue_mark": MAX_QUEUE_SIZE,
        "calls_while_stopped": calls_while_stopped,
        "seconds_until_stopped": round((pause.limit_reached or pause.restarted) - pause.stopped, 1),
        "results_behind_max": max(samples.sink_lag),
        "rss_max_mb": round(max(max(values) for values in samples.rss_mb.values()), 1),
        "rss_max_mb_by_service": {name: round(max(values), 1) for name, values in samples.rss_mb.items()},
        "lost": await _count_lost(driver, pages),
        "pages": sum(pages.values()),
    }


async def _stop_sink(driver: Driver, samples: Samples, pause_s: float) -> SinkPause:
    """Stop the sink, and watch its lag for the length of the pause."""
    log_progress("stopping the sink")
    driver.services.processes["sink"].stop()
    stopped = monotonic()
    limit_reached = None
    while monotonic() < stopped + pause_s:
        await asyncio.sleep(0.5)
        if limit_reached is None and samples.sink_lag and samples.sink_lag[-1] >= STOP_LAG:
            limit_reached = monotonic()
            log_progress(f"the sink's lag is {samples.sink_lag[-1]} results after {limit_reached - stopped:.1f} s")
    return SinkPause(stopped, limit_reached, monotonic())


def _calls_while_stopped(driver: Driver, pause: SinkPause) -> int:
    """Return the number of calls that started after the fetchers had to stop."""
    quiet_from = (pause.limit_reached or pause.restarted) + SETTLE_S
    return sum(quiet_from < call["arrived"] < pause.restarted for call in driver.calls())


async def _count_lost(driver: Driver, pages: dict[str, int]) -> int:
    """Return the number of pages that are not applied, plus the number of rows that differ from the simulator's."""
    unapplied = sum(count for state, count in pages.items() if state != "applied")
    differences = await driver.differences(SCENARIO.days)
    return unapplied + sum(item.missing + item.unexpected + item.different for item in differences)


@asynccontextmanager
async def _sampling(driver: Driver, samples: Samples) -> AsyncIterator[None]:
    """Take samples for the length of the block; raise the error that ended the sampling early, if any."""
    task = asyncio.create_task(_sample(driver, samples))
    try:
        yield
        if task.done():
            task.result()
    finally:
        task.cancel()


async def _sample(driver: Driver, samples: Samples) -> None:
    queue, sink_lag = driver.lag_of_fetchers(), driver.lag_of_sink()
    while True:
        samples.queue.append(await with_retries(queue.total))
        samples.sink_lag.append(await with_retries(sink_lag.total))
        for name, process in driver.services.processes.items():
            if process.running:
                with suppress(psutil.NoSuchProcess):  # it has exited since
                    samples.rss_mb.setdefault(name, []).append(rss_mb(process))
        await asyncio.sleep(1.0)
