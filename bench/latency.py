"""Time from the end of the API's answer to the committed page, at half of the load that the machine can take."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import psycopg

from bench.environment import NO_QUOTAS, count_lost, reports_of, running_environment, running_pipeline, start_fetcher
from bench.results import log_progress, write
from bench.throughput import UNLIMITED, render
from lab.call_log import Call, percentile
from lab.driver import Driver
from lab.scenario import Scenario
from pipeline.clock import monotonic

PROPERTIES = 2
WIDEST = "page_query"
DEADLINE_S = 900.0
HEADROOM = 0.8
Page = tuple[object, ...]
"""Property, day and first row."""
_APPLIED = """
select s.property, p.date::text, p.start_row from gsc.pages p join gsc.series s using (series)
 where p.state = 'applied' and p.run_id = %s and p.final_at > now() - interval '10 s'
"""


def run(days: int, rows: int, latency_s: float) -> None:
    """Sync all days without a limit, then again at half of that speed, and write the latencies of the second sync."""
    scenario = Scenario(days=days, properties=PROPERTIES, rows=rows, latency_s=latency_s, full_days=False)
    reports = [report for report in reports_of("web") if report["name"] == WIDEST]
    with running_environment(scenario, NO_QUOTAS, reports) as environment:
        with running_pipeline(environment, "full", **UNLIMITED) as driver:
            counts = render(environment, days)
            start_fetcher(driver, "fetcher-1")
            full = asyncio.run(_measure(driver, days))
        quota = round(60 * full["pages_per_s"] / 2 / PROPERTIES / HEADROOM)
        half_load = {**UNLIMITED, "GSC_SITE_QPM": str(quota), "GSC_QUOTA_HEADROOM": str(HEADROOM)}
        with running_pipeline(environment, "half", **half_load) as driver:
            start_fetcher(driver, "fetcher-1")
            half = asyncio.run(_measure(driver, days))
    write("latency", {"rows_a_page": round(sum(counts.values()) / len(counts)), **half, "at_full_load": full})


async def _measure(driver: Driver, days: int) -> dict[str, float]:
    run = await driver.request_sync(days)
    async with _followed(driver, run) as applied:
        pages = await _finished(driver, run)
    if lost := await count_lost(driver, pages, days):
        raise SystemExit(f"{lost} pages or days are missing or differ")
    return _figures(driver.calls(), applied)


async def _finished(driver: Driver, run: str) -> dict[str, int]:
    """Wait until every page of a run is applied; return the number of pages by state."""
    async with asyncio.timeout(DEADLINE_S):
        while not (pages := await driver.pages(run)) or set(pages) != {"applied"}:
            await asyncio.sleep(0.5)
    return pages


@asynccontextmanager
async def _followed(driver: Driver, run: str) -> AsyncIterator[dict[Page, float]]:
    """Note when each page of a run was first seen as applied, for the length of the block."""
    applied: dict[Page, float] = {}
    async with await psycopg.AsyncConnection.connect(driver.setup.servers.dsn, autocommit=True) as conn:
        await conn.execute("listen gsc_pages")
        task = asyncio.create_task(_follow(conn, run, applied))
        try:
            yield applied
            await asyncio.sleep(0.5)
        finally:
            task.cancel()
            await asyncio.wait([task])


async def _follow(conn: psycopg.AsyncConnection, run: str, applied: dict[Page, float]) -> None:
    while True:
        for page in await (await conn.execute(_APPLIED.encode(), (run,))).fetchall():
            applied.setdefault(tuple(page), monotonic())
        async for _ in conn.notifies(timeout=0.5, stop_after=1):
            pass


def _figures(calls: list[Call], applied: Mapping[Page, float]) -> dict[str, float]:
    answered = {
        (call["site"], call["day"], call["start_row"]): call["finished"] for call in calls if call["status"] == 200
    }
    added = [seen - answered[page] for page, seen in applied.items() if page in answered]
    seconds = max(applied.values()) - min(answered.values())
    figures = {
        "pages": len(added),
        "pages_per_s": round(len(added) / seconds, 1),
        "added_p50_s": round(percentile(added, 0.5), 3),
        "added_p99_s": round(percentile(added, 0.99), 3),
        "added_max_s": round(max(added), 3),
    }
    log_progress(str(figures))
    return figures
