"""The demo: servers, simulator and services on this machine, a sync, and a comparison of every row."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, cast

import httpx

from lab.comparison import Difference
from lab.driver import Driver, all_finished
from lab.embedded import Embedded, Plan, running_embedded
from lab.errors import LabError
from lab.progress import Progress, ShowProgress
from lab.scenario import RunningSimulator, Scenario
from lab.servers import ServerChoice
from pipeline.clock import monotonic
from pipeline.consumer_lag import LagReader
from pipeline.contracts.resources import RunProgress
from pipeline.ledger import runs
from pipeline.postgres import connection
from pipeline.retry import with_retries

POLL_S = 0.5
LIMIT_PER_MINUTE = 960
"""Calls a minute that a credential and a property may make: 80 % of Google's quota."""

Bar = Callable[[str], AbstractContextManager[ShowProgress]]
"""Shows the progress of one job, which the text describes, for the length of a block."""


@dataclass(frozen=True)
class Summary:
    """The result of the demo."""

    rows: int
    """Rows in the table, of the days of the sync."""
    rows_fetched: int
    """Rows of all pages: a row that two pages list is in the table once."""
    calls: int
    seconds: float
    """From the sync request to the last page."""
    peak_calls_per_minute: int
    """The highest of `peaks`."""
    peaks: dict[str, int]
    """Most calls in any minute, by property and by user."""
    differences: list[Difference]

    @property
    def equal_to_source(self) -> bool:
        """Whether every row of the table is equal to the simulator's, and none is missing."""
        return not self.differences


@contextmanager
def running_demo(scenario: Scenario, choice: ServerChoice, progress: Progress) -> Iterator[Embedded]:
    """Run servers, simulator and services for the length of the block.

    Raises LabError or PipelineError when one cannot be started, and OSError for the folder.
    """
    with tempfile.TemporaryDirectory(prefix="gsc-demo-", ignore_cleanup_errors=True) as scratch:
        # A Kafka that runs already may have the topics of another pipeline.
        settings = {"GSC_TOPIC_PREFIX": f"gsc-demo-{token_hex(4)}"} if choice.kafka else {}
        plan = Plan(scenario, choice.folder or Path(scratch), choice, settings, scratch=Path(scratch))
        with running_embedded(plan, progress) as embedded:
            yield embedded


async def synchronize(embedded: Embedded, days: int, bar: Bar) -> Summary:
    """Sync the last days until every page is finished, and compare the table with the simulator.

    Raises LabError when a service exits, PipelineError and httpx.HTTPError.
    """
    simulator = cast("RunningSimulator", embedded.simulator)  # a scenario is simulated
    driver = Driver(embedded.setup, simulator, embedded.services)
    began = monotonic()
    run_id = await driver.request_sync(days)
    with bar("pages") as show:
        run = await _follow(driver, run_id, show)
    seconds = monotonic() - began
    with bar("days compared with the source, row by row") as show:
        comparison = await driver.compare(days, show)
    stats = await _stats(driver)
    peaks = {**stats["peak_by_site"], **stats["peak_by_user"]}
    return Summary(
        comparison.rows,
        run.rows,
        stats["calls"],
        seconds,
        max(peaks.values(), default=0),
        peaks,
        comparison.differences,
    )


async def _follow(driver: Driver, run_id: str, show: ShowProgress) -> RunProgress:
    """Show the progress every POLL_S until all pages are finished."""
    lags = driver.lag_of_fetchers(), driver.lag_of_sink()
    async with connection(driver.setup.servers.dsn, application="gsc-demo") as conn:
        while True:
            await asyncio.sleep(POLL_S)
            if ended := driver.services.ended():
                raise LabError("\n".join(ended))
            run = await runs.progress(conn, run_id)
            if run is None:
                continue
            show(await _text(run, driver, lags), run.finished, run.total)
            if all_finished(run.pages):
                return run


async def _text(run: RunProgress, driver: Driver, lags: tuple[LagReader, LagReader]) -> str:
    batches, results = [await with_retries(lag.total) for lag in lags]
    calls = (await _stats(driver))["last_minute"]
    return f"pages; {run.rows:,} rows; {calls} calls in the last minute; lag: {batches} batches, {results} results"


async def _stats(driver: Driver) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=driver.simulator.root, timeout=60) as client:
        stats: dict[str, Any] = (await client.get("/_sim/stats")).json()
        return stats
