"""The main job in one command: the lab, the services, a sync, and the check of every row."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import httpx

from lab.choosing import LabChoice, running_servers
from lab.comparing import Difference, differences
from lab.errors import LabError
from lab.jars import Progress
from lab.running import Services, Setup, prepare, running_services
from lab.scenario import Scenario, SimulatedGoogle, start_google
from pipeline.catalog import read_catalog
from pipeline.clock import monotonic, now, pacific_date
from pipeline.contracts import codec
from pipeline.contracts.identity import run_id
from pipeline.contracts.topics import BATCHES, RESULTS, SYNC_REQUESTS
from pipeline.kafka import Publisher, group_id
from pipeline.kafka_admin import LagReader
from pipeline.postgres import connection
from pipeline.retrying import with_retries
from producer import ledger
from producer.admission import build_request

FINAL_AFTER_DAYS = 4
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
    scenario: Scenario, choice: LabChoice, progress: Progress
) -> Iterator[tuple[Setup, SimulatedGoogle, Services]]:
    """Servers, simulator and services, for the length of a block. Raises LabError."""
    last_day = pacific_date(now()) - timedelta(days=FINAL_AFTER_DAYS)
    with tempfile.TemporaryDirectory(prefix="gsc-demo-", ignore_cleanup_errors=True) as scratch:
        folder = choice.folder or Path(scratch)
        with running_servers(choice, progress) as servers:
            google = start_google(scenario.simulator(last_day), folder)
            try:
                setup = Setup(servers, google.root, google.catalog, folder)
                asyncio.run(prepare(setup))
                progress("starting producer, fetcher and sink")
                with running_services(setup) as services:
                    yield setup, google, services
            finally:
                google.process.stop()


async def synchronize(setup: Setup, google: SimulatedGoogle, services: Services, days: int, show: Show) -> Summary:
    """Ask for the days, watch until every page is in its last state, and compare. Raises LabError."""
    last_day = pacific_date(now()) - timedelta(days=FINAL_AFTER_DAYS)
    wanted = [last_day - timedelta(days=number) for number in range(days)]
    began = monotonic()
    request = build_request(
        {"start": wanted[-1].isoformat(), "end": wanted[0].isoformat(), "all": True}, now=now(), requested_by="demo"
    )
    publisher = Publisher(setup.kafka, "gsc-demo")
    await publisher.publish(SYNC_REQUESTS.full_name(setup.prefix), request.request_id, codec.encode(request))
    await publisher.close()
    await _until_settled(setup, google, services, run_id(request.request_id), show)
    seconds = monotonic() - began
    return await _summary(setup, google, wanted, seconds)


async def _until_settled(setup: Setup, google: SimulatedGoogle, services: Services, run: str, show: Show) -> None:
    prefix = setup.prefix
    batches = LagReader(setup.kafka, group=group_id(prefix, "fetcher"), topic=BATCHES.full_name(prefix))
    results = LagReader(setup.kafka, group=group_id(prefix, "sink"), topic=RESULTS.full_name(prefix))
    began = monotonic()
    async with (
        connection(setup.servers.dsn, application="gsc-demo") as conn,
        httpx.AsyncClient(base_url=google.root, timeout=30) as client,
    ):
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if ended := services.ended():
                raise LabError("\n".join(ended))
            run_progress = await ledger.progress(conn, run)
            if run_progress is None:
                continue
            pages: dict[str, int] = run_progress["pages"]  # type: ignore[assignment]
            stats = (await client.get("/_sim/stats")).json()
            settled = pages.get("applied", 0) + pages.get("dead", 0) + pages.get("cancelled", 0)
            show(
                Snapshot(
                    monotonic() - began,
                    int(str(run_progress["rows"])),
                    settled,
                    sum(pages.values()),
                    stats["calls"],
                    stats["last_minute"],
                    await with_retries(batches.total),
                    await with_retries(results.total),
                )
            )
            if settled == sum(pages.values()):
                return


async def _summary(setup: Setup, google: SimulatedGoogle, days: list[date], seconds: float) -> Summary:
    async with httpx.AsyncClient(base_url=google.root, timeout=60) as client:
        stats = (await client.get("/_sim/stats")).json()
    async with connection(setup.servers.dsn, application="gsc-demo") as conn:
        row = await (await conn.execute("select count(*) from gsc.facts")).fetchone()
        found = await differences(conn, google.root, read_catalog(setup.catalog), days)
    peaks = {**stats["peak_by_site"], **stats["peak_by_user"]}
    return Summary(row[0] if row else 0, stats["calls"], seconds, max(peaks.values(), default=0), peaks, found)
