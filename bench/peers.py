"""The same days by other tools: Airbyte's source, Singer's tap with a PostgreSQL target, and ours."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import httpx

from bench.environment import NO_QUOTAS, Environment, running_environment, running_pipeline, start_fetcher
from bench.peer_tools import Access, PeerRun, run_airbyte, run_tap
from bench.results import log_progress, write
from bench.throughput import UNLIMITED, render, render_query, require_equal, sync_days
from lab.comparison import Day
from lab.database import create_database
from lab.driver import read_calls
from lab.scenario import Scenario

REPORT = {
    "name": "all_fields",
    "dimensions": ["date", "country", "device", "page", "query"],
    "search_types": ["web", "news", "image", "video"],
}
"""What Airbyte's widest stream asks for."""
AIRBYTE_DAYS = 3
AIRBYTE_LIMIT = 25_000
AIRBYTE_FIELDS = ("$parameters", "search_types")
"""Unknown to Google's API; this version of the source sends them with every query."""
TAP_DAYS = 30
TAP_LIMIT = 10_000


def run(days: int, rows: int, latency_s: float) -> None:
    """Sync the same days with each tool, and write the figures. `rows`: average rows of a day of search type web."""
    scenario = Scenario(
        days=days,
        properties=1,
        rows=rows,
        latency_s=latency_s,
        full_days=False,
        kinds=("authorized_user",),
        ignored_fields=AIRBYTE_FIELDS,
        odd_queries=False,  # the target of the tap ends at the first NUL
    )
    with running_environment(scenario, NO_QUOTAS, [REPORT]) as environment:
        counts = render(environment, days)
        figures = {
            "ours": _ours(environment, "ours", counts),
            "sequential": _ours(environment, "sequential", counts, GSC_MAX_CONCURRENCY="1"),
            "airbyte": _airbyte(environment, counts),
            "tap": _tap(environment, counts),
        }
    speeds = {name: figure["rows_per_s"] for name, figure in figures.items()}
    ratios = {f"x_{name}": round(speeds["ours"] / speed, 1) for name, speed in speeds.items() if name != "ours"}
    write("peers", {"rows": sum(counts.values()), "days": days, **speeds, **ratios, "details": figures})


def _ours(environment: Environment, name: str, counts: dict[Day, int], **settings: str) -> dict[str, Any]:
    days = len({day.date for day in counts})
    with running_pipeline(environment, name, **UNLIMITED, **settings) as driver:
        start_fetcher(driver, "fetcher-1")
        phase = asyncio.run(sync_days(driver, days, counts))
        require_equal(driver, days)
    cpu_s = sum(seconds for service, seconds in phase.usage.cpu_s.items() if service != "simulator")
    return _figure(name, phase.seconds, phase.rows, phase.calls, cpu_s)


def _airbyte(environment: Environment, counts: dict[Day, int]) -> dict[str, Any]:
    access = _access(environment, counts)
    _render_ranges(environment, counts, AIRBYTE_DAYS, AIRBYTE_LIMIT)
    before = len(read_calls(environment.simulator.root))
    return _peer("airbyte", environment, before, run_airbyte(access, environment.folder / "airbyte"))


def _tap(environment: Environment, counts: dict[Day, int]) -> dict[str, Any]:
    access = _access(environment, counts)
    _render_ranges(environment, counts, TAP_DAYS + 1, TAP_LIMIT)  # a window includes the first day of the next one
    before = len(read_calls(environment.simulator.root))
    dsn = create_database(environment.servers.dsn, "bench_tap")
    return _peer("tap", environment, before, run_tap(access, dsn, environment.folder / "tap"))


def _peer(name: str, environment: Environment, before: int, done: PeerRun) -> dict[str, Any]:
    calls = read_calls(environment.simulator.root, before)
    began = min(call["arrived"] for call in calls)
    return _figure(name, done.ended - began, done.rows, len(calls), done.cpu_s)


def _figure(name: str, seconds: float, rows: int, calls: int, cpu_s: float) -> dict[str, Any]:
    figure = {
        "seconds": round(seconds, 2),
        "rows": rows,
        "rows_per_s": round(rows / seconds),
        "calls": calls,
        "cpu_us_per_row": round(cpu_s * 1e6 / rows, 1),
    }
    log_progress(json.dumps({"tool": name, **figure}))
    return figure


def _access(environment: Environment, counts: dict[Day, int]) -> Access:
    dates = sorted(day.date for day in counts)
    [site] = {day.property for day in counts}
    return Access(
        root=environment.simulator.root,
        site=site,
        start=dates[0].isoformat(),
        end=dates[-1].isoformat(),
        key=json.loads(environment.simulator.catalog.with_name("reader-1.json").read_text()),
    )


def _render_ranges(environment: Environment, counts: dict[Day, int], days: int, limit: int) -> None:
    """Let the simulator render what a tool will ask for in ranges of days, so that it takes no CPU time of its run."""
    dates = sorted({day.date for day in counts})
    with httpx.Client(base_url=environment.simulator.root, timeout=600) as client:
        for day in {(day.property, day.report, day.search_type): day for day in counts}.values():
            for start in dates[::days]:
                end = min(start + timedelta(days=days - 1), dates[-1])
                fields = {"startDate": start.isoformat(), "endDate": end.isoformat(), "rowLimit": limit}
                render_query(client, day, fields)
