"""The sink stopped for a minute: who waits, how much piles up, and whether anything is lost."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from bench.environment import rss_mb, running_driver, running_world, start_fetcher
from bench.results import tell, write
from lab.driver import Driver, all_finished
from lab.scenario import Scenario
from lab.search_console.settings import Quotas
from pipeline.clock import monotonic
from pipeline.retry import with_retries

MARK = 1000
STOP_AT = 800
SETTLE_S = 3.0
"""The fetchers look at the sink's lag every second, and calls under way end."""
SCENARIO = Scenario(days=200, properties=2, rows=20, latency_s=0.1, full_days=False)
SEARCH_TYPES = ("web", "image", "video", "news")
UNLIMITED = {"GSC_SITE_QPM": "100000", "GSC_USER_QPM": "100000", "GSC_PROJECT_QPM": "1000000"}


@dataclass
class Seen:
    """What was sampled every second."""

    queue: list[int] = field(default_factory=list)
    behind: list[int] = field(default_factory=list)
    rss_mb: dict[str, list[float]] = field(default_factory=dict)


def run(stopped_s: float) -> None:
    """Stop the sink for so long in the middle of a backfill."""
    quotas = Quotas(site_qpm=None, user_qpm=None, project_qpm=None)
    with (
        running_world(SCENARIO, quotas, SEARCH_TYPES) as world,
        running_driver(world, "backpressure", GSC_MAX_QUEUE_SIZE=str(MARK), **UNLIMITED) as pilot,
    ):
        start_fetcher(pilot, "fetcher-1")
        start_fetcher(pilot, "fetcher-2")
        write("backpressure", asyncio.run(_play(pilot, stopped_s)))


async def _play(pilot: Driver, stopped_s: float) -> dict[str, object]:
    seen = Seen()
    sampling = asyncio.create_task(_sample(pilot, seen))
    work = await pilot.request_sync(SCENARIO.days)
    while (await pilot.pages(work)).get("applied", 0) < 200:
        await asyncio.sleep(0.2)
    tell("the sink stops")
    pilot.services.processes["sink"].stop()
    stopped = monotonic()
    reached = None
    while monotonic() < stopped + stopped_s:
        await asyncio.sleep(0.5)
        if reached is None and seen.behind and seen.behind[-1] >= STOP_AT:
            reached = monotonic()
            tell(f"the sink is {seen.behind[-1]} results behind after {reached - stopped:.1f} s")
    restarted = monotonic()
    quiet_from = (reached or restarted) + SETTLE_S
    while_stopped = sum(quiet_from < call["arrived"] < restarted for call in pilot.calls())
    tell("the sink starts again")
    pilot.services.start("sink")
    while not all_finished(await pilot.pages(work)):
        await asyncio.sleep(1.0)
    if sampling.done():
        sampling.result()
    sampling.cancel()
    pages = await pilot.pages(work)
    different = await pilot.differences(SCENARIO.days)
    return {
        "queue_max": max(seen.queue),
        "queue_mark": MARK,
        "calls_while_stopped": while_stopped,
        "seconds_until_stopped": round((reached or restarted) - stopped, 1),
        "results_behind_max": max(seen.behind),
        "rss_max_mb": round(max(max(values) for values in seen.rss_mb.values()), 1),
        "rss_max_mb_by_service": {name: round(max(values), 1) for name, values in seen.rss_mb.items()},
        "lost": sum(n for state, n in pages.items() if state != "applied")
        + sum(item.missing + item.unexpected + item.different for item in different),
        "pages": sum(pages.values()),
    }


async def _sample(pilot: Driver, seen: Seen) -> None:
    queue, behind = pilot.lag_of_fetchers(), pilot.lag_of_sink()
    while True:
        seen.queue.append(await with_retries(queue.total))
        seen.behind.append(await with_retries(behind.total))
        for name, process in pilot.services.processes.items():
            if process.running:  # and may end before it is measured
                with suppress(psutil.NoSuchProcess):
                    seen.rss_mb.setdefault(name, []).append(rss_mb(process))
        await asyncio.sleep(1.0)
