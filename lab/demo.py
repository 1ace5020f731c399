"""The demo: servers, simulator and services on this machine, a sync, and a comparison of every row."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import httpx

from lab.comparison import Difference
from lab.driver import Driver, all_finished
from lab.embedded import Embedded, Plan, running_embedded
from lab.errors import LabError
from lab.progress import Progress
from lab.scenario import RunningSimulator, Scenario
from lab.servers import ServerChoice
from pipeline.clock import monotonic
from pipeline.consumer_lag import LagReader
from pipeline.ledger import runs
from pipeline.ledger.pages import finished_count
from pipeline.postgres import Connection, connection
from pipeline.retry import with_retries

POLL_S = 0.5


class Snapshot(NamedTuple):
    """The progress of a sync."""

    seconds: float
    """Since the sync was requested."""
    rows: int
    """Rows written."""
    pages_finished: int
    """Pages in a final state."""
    pages_planned: int
    calls: int
    calls_last_minute: int
    lag_batches: int
    """Consumer lag of the fetchers."""
    lag_results: int
    """Consumer lag of the sink."""

    @property
    def eta_s(self) -> float | None:
        """Estimated seconds to the end, at the average speed so far; None before the first page is finished."""
        if not self.pages_finished:
            return None
        return self.seconds / self.pages_finished * (self.pages_planned - self.pages_finished)


@dataclass(frozen=True)
class Summary:
    """The result of the demo."""

    rows: int
    """Rows in the table."""
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


Show = Callable[[Snapshot], None]
"""Receives a snapshot every POLL_S."""


@contextmanager
def running_demo(scenario: Scenario, choice: ServerChoice, progress: Progress) -> Iterator[Embedded]:
    """Run servers, simulator and services for the length of the block.

    Raises LabError or PipelineError when one cannot be started, and OSError for the folder.
    """
    with tempfile.TemporaryDirectory(prefix="gsc-demo-", ignore_cleanup_errors=True) as scratch:
        plan = Plan(scenario, choice.folder or Path(scratch), choice, scratch=Path(scratch))
        with running_embedded(plan, progress) as embedded:
            yield embedded


async def synchronize(embedded: Embedded, days: int, show: Show) -> Summary:
    """Sync the last days, show the progress until every page is finished, and compare the table with the simulator.

    Raises LabError when a service exits, PipelineError and httpx.HTTPError.
    """
    simulator = cast("RunningSimulator", embedded.simulator)  # a scenario is simulated
    driver = Driver(embedded.setup, simulator, embedded.services)
    began = monotonic()
    run = await driver.request_sync(days)
    await _follow(driver, run, show)
    seconds = monotonic() - began
    return await _summarize(driver, days, seconds)


async def _follow(driver: Driver, run: str, show: Show) -> None:
    """Show a snapshot every POLL_S until all pages are finished."""
    lags = driver.lag_of_fetchers(), driver.lag_of_sink()
    began = monotonic()
    async with (
        connection(driver.setup.servers.dsn, application="gsc-demo") as conn,
        httpx.AsyncClient(base_url=driver.simulator.root, timeout=30) as client,
    ):
        while True:
            await asyncio.sleep(POLL_S)
            if ended := driver.services.ended():
                raise LabError("\n".join(ended))
            progress = await _read_progress(conn, run)
            if progress is None:
                continue
            pages, rows = progress
            show(await _snapshot(monotonic() - began, rows, pages, client, lags))
            if all_finished(pages):
                return


async def _read_progress(conn: Connection, run: str) -> tuple[dict[str, int], int] | None:
    """Return the run's pages by state and its applied rows; None until the run is planned."""
    progress = await runs.progress(conn, run)
    if progress is None:
        return None
    pages: dict[str, int] = progress["pages"]  # type: ignore[assignment]
    return pages, int(str(progress["rows"]))


async def _snapshot(
    seconds: float, rows: int, pages: dict[str, int], client: httpx.AsyncClient, lags: tuple[LagReader, LagReader]
) -> Snapshot:
    stats = (await client.get("/_sim/stats")).json()
    batches, results = lags
    return Snapshot(
        seconds,
        rows,
        finished_count(pages),
        sum(pages.values()),
        stats["calls"],
        stats["last_minute"],
        await with_retries(batches.total),
        await with_retries(results.total),
    )


async def _summarize(driver: Driver, days: int, seconds: float) -> Summary:
    async with httpx.AsyncClient(base_url=driver.simulator.root, timeout=60) as client:
        stats = (await client.get("/_sim/stats")).json()
    async with connection(driver.setup.servers.dsn, application="gsc-demo") as conn:
        row = await (await conn.execute("select count(*) from gsc.facts")).fetchone()
    differences = await driver.differences(days)
    peaks = {**stats["peak_by_site"], **stats["peak_by_user"]}
    return Summary(row[0] if row else 0, stats["calls"], seconds, max(peaks.values(), default=0), peaks, differences)
