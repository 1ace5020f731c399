"""The main job in one command: the lab, the services, a sync, and the check of every row."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import httpx

from lab.comparison import Difference
from lab.days import last_day
from lab.driver import Driver, all_finished
from lab.errors import LabError
from lab.kafka_jars import Progress
from lab.local_pipeline import Services, Setup, prepare, running_services
from lab.run_folder import locked
from lab.scenario import RunningSimulator, Scenario, start_simulator
from lab.servers import ServerChoice, running_servers
from pipeline.clock import monotonic
from pipeline.ledger import runs
from pipeline.ledger.pages import finished_count
from pipeline.postgres import connection
from pipeline.retry import with_retries

LOOK_EVERY_S = 0.5


class Snapshot(NamedTuple):
    """How far the sync is."""

    seconds: float
    rows: int
    pages_applied: int
    pages_planned: int
    calls: int
    calls_last_minute: int
    lag_batches: int
    lag_results: int

    @property
    def eta_s(self) -> float | None:
        """Seconds to go at the pace so far; None while there is no pace."""
        if not self.pages_applied:
            return None
        return self.seconds / self.pages_applied * (self.pages_planned - self.pages_applied)


@dataclass(frozen=True)
class Summary:
    """What the demo came to."""

    rows: int
    calls: int
    seconds: float
    peak_calls_per_minute: int
    peaks: dict[str, int]
    differences: list[Difference]

    @property
    def equal_to_source(self) -> bool:
        """Whether the table is the truth, row by row."""
        return not self.differences


Show = Callable[[Snapshot], None]


@contextmanager
def running_demo(
    scenario: Scenario, choice: ServerChoice, progress: Progress
) -> Iterator[tuple[Setup, RunningSimulator, Services]]:
    """Servers, simulator and services, for the length of a block. Raises LabError."""
    with tempfile.TemporaryDirectory(prefix="gsc-demo-", ignore_cleanup_errors=True) as scratch:
        folder = choice.folder or Path(scratch)
        with locked(folder), running_servers(choice, progress) as servers:
            google = start_simulator(scenario.simulator(last_day()), folder)
            try:
                setup = Setup(servers, google.root, google.catalog, folder, scratch=Path(scratch))
                asyncio.run(prepare(setup))
                progress("starting producer, fetcher and sink")
                with running_services(setup) as services:
                    yield setup, google, services
            finally:
                google.process.stop()


async def synchronize(setup: Setup, google: RunningSimulator, services: Services, days: int, show: Show) -> Summary:
    """Ask for the days, watch until every page is in its last state, and compare. Raises LabError."""
    pilot = Driver(setup, google, services)
    began = monotonic()
    run = await pilot.request_sync(days)
    await _until_settled(pilot, run, show)
    seconds = monotonic() - began
    return await _summary(pilot, days, seconds)


async def _until_settled(pilot: Driver, run: str, show: Show) -> None:
    batches, results = pilot.lag_of_fetchers(), pilot.lag_of_sink()
    began = monotonic()
    async with (
        connection(pilot.setup.servers.dsn, application="gsc-demo") as conn,
        httpx.AsyncClient(base_url=pilot.google.root, timeout=30) as client,
    ):
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if ended := pilot.services.ended():
                raise LabError("\n".join(ended))
            run_progress = await runs.progress(conn, run)
            if run_progress is None:
                continue
            pages: dict[str, int] = run_progress["pages"]  # type: ignore[assignment]
            stats = (await client.get("/_sim/stats")).json()
            ended_pages = finished_count(pages)
            show(
                Snapshot(
                    monotonic() - began,
                    int(str(run_progress["rows"])),
                    ended_pages,
                    sum(pages.values()),
                    stats["calls"],
                    stats["last_minute"],
                    await with_retries(batches.total),
                    await with_retries(results.total),
                )
            )
            if all_finished(pages):
                return


async def _summary(pilot: Driver, days: int, seconds: float) -> Summary:
    async with httpx.AsyncClient(base_url=pilot.google.root, timeout=60) as client:
        stats = (await client.get("/_sim/stats")).json()
    async with connection(pilot.setup.servers.dsn, application="gsc-demo") as conn:
        row = await (await conn.execute("select count(*) from gsc.facts")).fetchone()
    found = await pilot.differences(days)
    peaks = {**stats["peak_by_site"], **stats["peak_by_user"]}
    return Summary(row[0] if row else 0, stats["calls"], seconds, max(peaks.values(), default=0), peaks, found)
