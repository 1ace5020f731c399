"""Rows per second, first call to last commit: new days, the same again, a little changed, two of each service."""

import asyncio
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import httpx
import msgspec
import psycopg

from bench.environment import NO_QUOTAS, Environment, running_environment, running_pipeline, start_fetcher
from bench.results import log_progress, write
from bench.usage import Usage, Written, measured_usage, written
from lab.comparison import Day, series_days
from lab.driver import Driver
from lab.local_pipeline import start_service
from lab.processes import PYTHON, inherited_environment
from lab.scenario import Scenario, last_days
from pipeline.catalog_file import read_catalog
from pipeline.clock import monotonic
from pipeline.contracts.topics import RESULTS
from pipeline.topic_reader import OffsetRange, OffsetRanges, open_topic_reader

PAGE_ROWS = 25_000
POLL_S = 0.1
DEADLINE_S = 1800.0
CHANGED_SHARE = 100
"""One row in this many changes."""
UNLIMITED = {"GSC_SITE_QPM": "1000000", "GSC_USER_QPM": "1000000", "GSC_PROJECT_QPM": "10000000"}
_UNFINISHED = """
select count(*) filter (where p.state in ('pending', 'published')), count(*)
  from gsc.pages p where p.generation = (select max(generation) from gsc.runs)
"""


class _Columns(msgspec.Struct):
    clicks: list[float] = []


@dataclass(frozen=True)
class Phase:
    """One sync of all days."""

    seconds: float
    """From the arrival of the first call to the moment when every page was seen in a final state."""
    rows: int
    """Rows that the answers had."""
    calls: int
    wait_noticed_s: float
    """From the end of the work to the exit of `sync --wait`."""
    rows_through_kafka: int
    usage: Usage
    written: Written

    @property
    def rows_per_s(self) -> int:
        """Rows of the source that the table was brought in step with, per second."""
        return round(self.rows / self.seconds)

    def cpu_ms_per_page(self) -> dict[str, float]:
        """Return CPU milliseconds per 25,000 rows, by service."""
        return {name: round(seconds * 1000 * PAGE_ROWS / self.rows, 1) for name, seconds in self.usage.cpu_s.items()}


def run(days: int, rows: int, latency_s: float) -> None:
    """Measure four syncs, and write the figures. `rows`: average rows of a day of the widest report."""
    base = Scenario(days=days, properties=1, rows=rows, latency_s=latency_s)
    new, again, changed = _one_property(base)
    two = _two_of_each(replace(base, properties=3, days=max(1, days * 2 // 5)))
    write("throughput", _figures(new, again, changed, two))


def _figures(new: Phase, again: Phase, changed: Phase, two: Phase) -> dict[str, Any]:
    phases = {"new": new, "again": again, "changed": changed, "two": two}
    return {
        "rows": new.rows,
        "calls": new.calls,
        "rows_per_s": new.rows_per_s,
        "again_rows_per_s": again.rows_per_s,
        "again_rows_written": again.written.rows,
        "again_rows_through_kafka": again.rows_through_kafka,
        "changed_rows_per_s": changed.rows_per_s,
        "changed_rows_written": changed.written.rows,
        "two_rows": two.rows,
        "two_rows_per_s": two.rows_per_s,
        "cpu_ms_per_page": new.cpu_ms_per_page(),
        "rss_max_mb": {name: round(value, 1) for name, value in new.usage.rss_max_mb.items()},
        "wait_noticed_s": round(new.wait_noticed_s, 2),
        "phases": {name: _details(phase) for name, phase in phases.items()},
    }


def _details(phase: Phase) -> dict[str, Any]:
    return {
        "seconds": round(phase.seconds, 2),
        "rows_per_s": phase.rows_per_s,
        "cpu_ms_per_page": phase.cpu_ms_per_page(),
        "rss_max_mb": {name: round(value, 1) for name, value in phase.usage.rss_max_mb.items()},
        "written": phase.written._asdict(),
        "rows_through_kafka": phase.rows_through_kafka,
        "wait_noticed_s": round(phase.wait_noticed_s, 2),
    }


def _one_property(scenario: Scenario) -> tuple[Phase, Phase, Phase]:
    with (
        running_environment(scenario, NO_QUOTAS) as environment,
        running_pipeline(environment, "throughput", **UNLIMITED) as driver,
    ):
        start_fetcher(driver, "fetcher-1")
        counts = render(environment, scenario.days)
        new = asyncio.run(sync_days(driver, scenario.days, counts))
        again = asyncio.run(sync_days(driver, scenario.days, counts))
        _revise(driver, counts)
        render(environment, scenario.days)
        changed = asyncio.run(sync_days(driver, scenario.days, counts))
        require_equal(driver, scenario.days)
    return new, again, changed


def _two_of_each(scenario: Scenario) -> Phase:
    with (
        running_environment(scenario, NO_QUOTAS) as environment,
        running_pipeline(environment, "two", **UNLIMITED) as driver,
    ):
        start_fetcher(driver, "fetcher-1")
        start_fetcher(driver, "fetcher-2")
        driver.services.processes["sink-2"] = start_service("sink", driver.setup.environment, _folder(driver))
        counts = render(environment, scenario.days)
        phase = asyncio.run(sync_days(driver, scenario.days, counts))
        require_equal(driver, scenario.days)
    return phase


def _folder(driver: Driver) -> Any:
    folder = driver.setup.folder / "sink-2"
    folder.mkdir(exist_ok=True)
    return folder


def render(environment: Environment, days: int) -> dict[Day, int]:
    """Let the simulator render every page, which would otherwise take CPU time of the run; return the rows by day."""
    with httpx.Client(base_url=environment.simulator.root, timeout=120) as client:
        return {
            day: _render_day(client, day)
            for day in series_days(read_catalog(environment.simulator.catalog), last_days(days))
        }


def _render_day(client: httpx.Client, day: Day) -> int:
    dates = {"startDate": day.date.isoformat(), "endDate": day.date.isoformat()}
    return render_query(client, day, {**dates, "dataState": day.report.data_state, "rowLimit": PAGE_ROWS})


def render_query(client: httpx.Client, day: Day, fields: Mapping[str, object]) -> int:
    """Let the simulator render the pages of a query for a day's series; return the number of rows."""
    query = {"type": day.search_type, "dimensions": day.report.dimensions, **fields}
    body = {"site": day.property, "query": query}
    return int(client.post("/_sim/render", json=body).raise_for_status().json()["rows"])


def _revise(driver: Driver, counts: dict[Day, int]) -> None:
    """Change one row in a hundred of each day of the widest report, at least one."""
    largest: dict[tuple[str, date], int] = {}
    for day, rows in counts.items():
        largest[day.property, day.date] = max(rows, largest.get((day.property, day.date), 0))
    for (site, when), rows in largest.items():
        driver.post("revise", {"site": site, "date": when.isoformat(), "change": -(-rows // CHANGED_SHARE)})


async def sync_days(driver: Driver, days: int, counts: dict[Day, int]) -> Phase:
    """Run `sync --all --wait` and measure until every page is in a final state."""
    before, calls, offsets = await written(driver), len(driver.calls()), await _offsets(driver)
    async with measured_usage(driver) as usage:
        command = await _start_sync(driver, last_days(days))
        ended = await _await_end(driver, command)
        code = await asyncio.wait_for(command.wait(), DEADLINE_S)
        noticed = monotonic() - ended
    if code:
        raise SystemExit(f"gsc-stream sync --wait has exited with {code}")
    new_calls = driver.calls(calls)
    began = min(call["arrived"] for call in new_calls)
    through_kafka = await _rows_since(driver, offsets)
    after = await written(driver)
    phase = Phase(
        ended - began, sum(counts.values()), len(new_calls), noticed, through_kafka, usage, after.since(before)
    )
    log_progress(json.dumps({"rows": phase.rows, "calls": phase.calls, **_details(phase)}))
    return phase


async def _start_sync(driver: Driver, dates: list[date]) -> asyncio.subprocess.Process:
    arguments = ["sync", "--all", "--start", dates[-1].isoformat(), "--end", dates[0].isoformat(), "--wait", "--json"]
    return await asyncio.create_subprocess_exec(
        *PYTHON,
        "-m",
        "cli",
        *arguments,
        env={**inherited_environment(), **driver.setup.environment},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=sys.stderr,
    )


async def _await_end(driver: Driver, command: asyncio.subprocess.Process) -> float:
    """Return when every page of the newest run was in a final state; POLL_S late at most."""
    generation = await _newest(driver)
    deadline = monotonic() + DEADLINE_S
    async with await psycopg.AsyncConnection.connect(driver.setup.servers.dsn, autocommit=True) as conn:
        while monotonic() < deadline and (command.returncode is None):
            row = await (await conn.execute(_UNFINISHED.encode())).fetchone()
            if row and row[1] and not row[0] and await _newest(driver) != generation:
                return monotonic()
            await asyncio.sleep(POLL_S)
    return monotonic()


async def _newest(driver: Driver) -> int:
    async with await psycopg.AsyncConnection.connect(driver.setup.servers.dsn, autocommit=True) as conn:
        row = await (await conn.execute("select coalesce(max(generation), 0) from gsc.runs")).fetchone()
    return int(row[0]) if row else 0


async def _offsets(driver: Driver) -> OffsetRanges:
    setup = driver.setup
    async with open_topic_reader(setup.kafka, setup.prefix, RESULTS.full_name(setup.prefix)) as reader:
        return await reader.available()


async def _rows_since(driver: Driver, before: OffsetRanges) -> int:
    """Return the number of rows in the results that were published since."""
    setup = driver.setup
    async with open_topic_reader(setup.kafka, setup.prefix, RESULTS.full_name(setup.prefix)) as reader:
        now = await reader.available()
        spans = {number: OffsetRange(before[number].end, span.end) for number, span in now.items()}
        return sum([_rows_of(record.value for record in records) async for records in reader.records(spans)])


def _rows_of(values: Iterable[bytes | None]) -> int:
    return sum(len(msgspec.json.decode(value, type=_Columns).clicks) for value in values if value)


def require_equal(driver: Driver, days: int) -> None:
    """End the benchmark when the table differs from the source. Raises SystemExit."""
    if differences := asyncio.run(driver.differences(days)):
        raise SystemExit(f"the table differs from the source: {differences[:3]}")
