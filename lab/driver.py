"""What tests, benchmarks and the demo do with a running pipeline: request a sync, follow it, compare the result."""

import json
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

import httpx
import msgspec

from lab.comparison import Comparison, Day, Difference, Table, expected_table, series_days
from lab.local_pipeline import Services, Setup
from lab.progress import ShowProgress
from lab.scenario import RunningSimulator, last_day, last_days
from pipeline.catalog_file import read_catalog
from pipeline.clock import now
from pipeline.consumer_lag import LagReader
from pipeline.contracts.identity import run_id
from pipeline.contracts.messages import Control
from pipeline.contracts.reports import value_dimensions
from pipeline.contracts.resources import finished_count
from pipeline.contracts.topics import BATCHES, RESULTS
from pipeline.control import read_halts
from pipeline.kafka import group_id
from pipeline.ledger import runs
from pipeline.pacific import pacific_date
from pipeline.postgres import Connection, connection
from pipeline.publisher import open_publisher, publish_control, publish_request
from pipeline.report_views import COLUMN_OF_DIMENSION
from producer.sync_request import build_request


@dataclass
class Driver:
    """A running pipeline: its setup, its simulator and its services."""

    setup: Setup
    simulator: RunningSimulator
    services: Services
    newest_day: date = field(default_factory=last_day)
    """The last day that is requested and compared: the same when midnight passes in between."""

    async def request_sync(self, days: int) -> str:
        """Publish a sync request for the last days of every property; return the run's id. Raises PipelineError."""
        dates = last_days(days, self.newest_day)
        fields = {"start": dates[-1].isoformat(), "end": dates[0].isoformat(), "all": True}
        request = build_request(fields, now=now(), today=pacific_date(now()), requested_by="lab")
        async with open_publisher(self.setup.kafka, "gsc-lab") as publisher:
            await publish_request(publisher, self.setup.prefix, request)
        return run_id(request.request_id)

    async def set_state(self, scope: str, state: Literal["halted", "running"], reason: str) -> None:
        """Halt or resume a scope, as an operator does. Raises PipelineError."""
        control = Control(scope=scope, state=state, reason=reason, actor="lab", at=now())
        async with open_publisher(self.setup.kafka, "gsc-lab") as publisher:
            await publish_control(publisher, self.setup.prefix, control)

    async def resume_all(self, reason: str) -> None:
        """Resume every scope that is halted, whoever has halted it. Raises PipelineError."""
        for halt in (await read_halts(self.setup.kafka, self.setup.prefix)).active(now()):
            await self.set_state(halt.scope, "running", reason)

    async def cancel(self, run: str) -> None:
        """Cancel the unfinished pages of a run, as an operator does. Raises PipelineError."""
        async with connection(self.setup.servers.dsn, application="gsc-lab") as conn:
            await runs.cancel(conn, run)
        await self.set_state(f"run:{run}", "halted", "cancelled")

    async def pages(self, run: str) -> dict[str, int]:
        """Return the number of pages of the run by state; empty until the run is planned. Raises PipelineError."""
        async with connection(self.setup.servers.dsn, application="gsc-lab") as conn:
            progress = await runs.progress(conn, run)
        return progress.pages if progress else {}

    async def differences(self, days: int) -> list[Difference]:
        """Return how the table differs from the simulator in the last days. Raises like `compare`."""
        return (await self.compare(days, lambda *_: None)).differences

    async def compare(self, days: int, show: ShowProgress) -> Comparison:
        """Compare the last days of every series of the catalog with the simulator, row by row.

        Raises PipelineError, CatalogError, psycopg.Error and httpx.HTTPError.
        """
        series = series_days(read_catalog(self.setup.catalog), last_days(days, self.newest_day))
        comparison = Comparison()
        async with (
            connection(self.setup.servers.dsn, application="gsc-lab") as conn,
            httpx.AsyncClient(base_url=self.simulator.root, timeout=120) as client,
        ):
            for number, day in enumerate(series, start=1):
                comparison.add(day, await _read_table(conn, day), await _read_source(client, day))
                show("days compared with the source, row by row", number, len(series))
        return comparison

    def lag_of_fetchers(self) -> LagReader:
        """Return a reader of the fetchers' consumer lag, the number of batches in the queue."""
        prefix = self.setup.prefix
        return LagReader(self.setup.kafka, group=group_id(prefix, "fetcher"), topic=BATCHES.full_name(prefix))

    def lag_of_sink(self) -> LagReader:
        """Return a reader of the sink's consumer lag, in results."""
        prefix = self.setup.prefix
        return LagReader(self.setup.kafka, group=group_id(prefix, "sink"), topic=RESULTS.full_name(prefix))

    def calls(self, since: int = 0) -> list[dict[str, Any]]:
        """Return the simulator's call log from line `since` on. Raises httpx.HTTPError."""
        return read_calls(self.simulator.root, since)

    def post(self, path: str, body: object) -> None:
        """Send a request to the simulator's control API, for example to change its settings. Raises httpx.HTTPError."""
        httpx.post(f"{self.simulator.root}/_sim/{path}", json=body).raise_for_status()


def read_calls(root: str, since: int = 0) -> list[dict[str, Any]]:
    """Return the call log of the simulator at `root` from line `since` on. Raises httpx.HTTPError."""
    log = httpx.get(f"{root}/_sim/log", params={"since": since}, timeout=60).raise_for_status()
    return [json.loads(line) for line in log.text.splitlines()]


def all_finished(pages: dict[str, int]) -> bool:
    """Return whether there are pages and all are in a final state; `pages` are numbers of pages by state."""
    return bool(pages) and finished_count(pages) == sum(pages.values())


async def _read_table(conn: Connection, day: Day) -> Table:
    columns = [COLUMN_OF_DIMENSION[name] for name in value_dimensions(day.report.dimensions)]
    selected = ", ".join([*columns, "clicks", "impressions", "ctr", "position"])
    # The catalog allows only word characters in report names, so the name of the view needs no quoting.
    statement = f"select {selected} from gsc.{day.report.name} where property = %s and search_type = %s and date = %s"
    cursor = await conn.execute(statement.encode(), (day.property, day.search_type, day.date))
    width = len(columns)
    return {row[:width]: row[width:] async for row in cursor}


async def _read_source(client: httpx.AsyncClient, day: Day) -> Table:
    query = {
        "site": day.property,
        "date": day.date.isoformat(),
        "type": day.search_type,
        "dimensions": ",".join(day.report.dimensions),
        "dataState": day.report.data_state,
        "filters": msgspec.json.encode(day.report.selection.filters).decode(),
    }
    rows = (await client.get("/_sim/truth", params=query)).raise_for_status().json()
    return expected_table(day, rows[: day.report.row_limit])
