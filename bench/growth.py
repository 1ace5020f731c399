"""What a page costs with few and many properties, fetchers and pending pages: CPU time by service."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from bench.environment import NO_QUOTAS, running_environment, running_pipeline, start_fetcher
from bench.results import log_progress, write
from bench.throughput import UNLIMITED
from bench.usage import measured_usage
from lab.driver import Driver
from lab.scenario import Scenario
from pipeline.clock import monotonic
from pipeline.contracts.reports import SEARCH_TYPES
from pipeline.ledger import runs
from pipeline.postgres import connection

CREDENTIALS = 10
ROWS = 20
PLAN_S = 3600.0
FETCH_S = 1800.0
POLL_S = 0.2
PLANNED_POLL_S = 2.0


@dataclass(frozen=True)
class Case:
    """One case: its pages are those of `days` days of `properties` in `search_types` search types."""

    varies: str
    properties: int
    days: int
    search_types: int = 4
    fetchers: int = 1
    measured: int = 3000
    """Pages that are fetched; the rest stays pending."""

    @property
    def pages(self) -> int:
        """All pages of the run."""
        return self.properties * self.days * self.search_types


CASES = (
    Case("properties", 1, 480, 6, measured=2800),
    Case("properties", 10, 80),
    Case("properties", 100, 8),
    Case("properties", 1_000, 1),
    Case("properties", 10_000, 1, 1),
    Case("fetchers", 100, 8, fetchers=1),
    Case("fetchers", 100, 8, fetchers=2),
    Case("fetchers", 100, 8, fetchers=4),
    Case("backlog", 25, 100),
    Case("backlog", 60, 417),
    Case("backlog", 521, 480),
)
"""Backlogs of 10 thousand, 100 thousand and 1 million pages."""


def run(largest: int) -> None:
    """Measure every case of at most `largest` pages, and write the figures."""
    cases = [case for case in CASES if case.pages <= largest]
    write("growth", {"cases": [_measure(case, number) for number, case in enumerate(cases)]})


def _measure(case: Case, number: int) -> dict[str, Any]:
    scenario = Scenario(
        days=case.days,
        properties=case.properties,
        credentials=min(CREDENTIALS, case.properties),
        rows=ROWS,
        latency_s=0.05,
        full_days=False,
    )
    report = {
        "name": "by_country",
        "dimensions": ["date", "country"],
        "search_types": SEARCH_TYPES[: case.search_types],
    }
    log_progress(f"{case.pages} pages of {case.properties} properties, {case.fetchers} fetchers")
    with (
        running_environment(scenario, NO_QUOTAS, [report]) as environment,
        running_pipeline(environment, f"growth_{number}", **UNLIMITED) as driver,
    ):
        figures = asyncio.run(_fetch(driver, case))
    log_progress(json.dumps(figures))
    return figures


async def _fetch(driver: Driver, case: Case) -> dict[str, Any]:
    """Plan the run, start the fetchers, and measure the pages after the first tenth."""
    run_ = await driver.request_sync(case.days)
    await _until_planned(driver, run_)
    calls = _Calls(driver)
    for number in range(case.fetchers):
        start_fetcher(driver, f"fetcher-{number + 1}")
    await calls.until(case.measured // 10)
    before, began = calls.count, monotonic()
    async with measured_usage(driver) as usage:
        await calls.until(case.measured)
    seconds, fetched = monotonic() - began, calls.count - before
    cost = {name: cpu_s * 1000 / fetched for name, cpu_s in usage.cpu_s.items() if name != "simulator"}
    return {
        "varies": case.varies,
        "properties": case.properties,
        "fetchers": case.fetchers,
        "pages": case.pages,
        "measured": fetched,
        "pages_per_s": round(fetched / seconds, 1),
        "cost_per_page_ms": round(sum(cost.values()), 2),
        "cost_per_page_ms_by_service": {name: round(value, 2) for name, value in cost.items()},
        "rss_max_mb": {name: round(value, 1) for name, value in usage.rss_max_mb.items()},
    }


class _Calls:
    """Counts the calls of the simulator. The ledger would take CPU time of PostgreSQL to count the pages."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.count = 0

    async def until(self, count: int) -> None:
        """Wait until this number of calls was made. Raises TimeoutError."""
        async with asyncio.timeout(FETCH_S):
            while (new := len(self._driver.calls(self.count))) + self.count < count:
                self.count += new
                await asyncio.sleep(POLL_S)
            self.count += new


async def _until_planned(driver: Driver, run_: str) -> None:
    async with asyncio.timeout(PLAN_S), connection(driver.setup.servers.dsn, application="gsc-bench") as conn:
        while not (progress := await runs.progress(conn, run_)) or not progress.planned_at:
            await asyncio.sleep(PLANNED_POLL_S)
