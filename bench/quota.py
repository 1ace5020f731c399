"""Calls at the quota and never above it: two credentials, six properties, and fetchers that join, leave and die."""

import asyncio
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bench.environment import Environment, Fetcher, reports_of, running_environment, running_pipeline, start_fetcher
from bench.results import log_progress, write
from lab.call_log import Call, minutes, page_of, peaks, repeats
from lab.driver import Driver
from lab.scenario import Scenario
from pipeline.clock import monotonic

ALLOWED = 960
"""Calls per minute of a credential or property: 80 % of the quota of 1,200."""
ALLOWED_PROJECT = 32_000
CREDENTIALS = 2
SETTLE_S = 30.0
"""After a rebalance: the session timeout of a killed member, and the burst of the new owner."""
PHASE_S = SETTLE_S + 60
"""Duration of the phase after each rebalance."""
CONCURRENCY = "64"
SEQUENTIAL_S = 90.0
SCENARIO = Scenario(
    days=400,
    properties=6,
    credentials=CREDENTIALS,
    rows=5,
    latency_s=2.0,
    full_days=False,
)
SEARCH_TYPES = ("web", "image", "video", "news")


@dataclass(frozen=True)
class Timeline:
    """When the group's members changed, on the monotonic clock."""

    began: float
    joined: float
    left: float
    killed: float
    ended: float
    in_flight_at_kill: int
    """Batches that the killed fetcher had started and not committed, by its own gauge just before."""
    calls_at_kill: int
    """Calls of these that were in flight."""

    def stable_phases(self) -> list[tuple[float, float]]:
        """Return start and end of each phase without a rebalance."""
        changes = [self.began, self.joined, self.left, self.killed, self.ended]
        return [(start + SETTLE_S, end) for start, end in pairwise(changes)]


def run(steady_minutes: float) -> None:
    """Run for the minutes without a change, then through a join, a leave and a SIGKILL, and write the figures."""
    with running_environment(SCENARIO, reports=reports_of(*SEARCH_TYPES)) as environment:
        with running_pipeline(environment, "quota", GSC_MAX_CONCURRENCY=CONCURRENCY) as driver:
            timeline = asyncio.run(_rebalance(driver, steady_minutes * 60))
            calls = [call for call in driver.calls() if call["arrived"] < timeline.ended]
        sequential = _sequential_rate(environment)
    write("quota", _figures(calls, timeline, sequential))


async def _rebalance(driver: Driver, steady_s: float) -> Timeline:
    first, second = start_fetcher(driver, "fetcher-1"), start_fetcher(driver, "fetcher-2")
    await driver.request_sync(SCENARIO.days)
    log_progress("waiting for the first call")
    while not driver.calls():
        await asyncio.sleep(0.5)
    began = monotonic()
    await _log_calls(driver, SETTLE_S + steady_s)
    third = start_fetcher(driver, "fetcher-3")
    joined = monotonic()
    log_progress("a fetcher joins")
    await _log_calls(driver, PHASE_S)
    leaving = max((first, second), key=_calls_in_flight)
    left = monotonic()
    log_progress(f"a fetcher with {_calls_in_flight(leaving)} calls in flight leaves")
    leaving.process.stop()
    await _log_calls(driver, PHASE_S)
    busiest = max({first, second, third} - {leaving}, key=_calls_in_flight)
    calls, batches = _calls_in_flight(busiest), int(busiest.gauge("gsc_batches_uncommitted"))
    busiest.process.kill()
    killed = monotonic()
    log_progress(f"a fetcher with {batches} uncommitted batches, {calls} of them with a call in flight, is killed")
    await _log_calls(driver, PHASE_S)
    return Timeline(began, joined, left, killed, monotonic(), batches, calls)


def _calls_in_flight(fetcher: Fetcher) -> int:
    return int(fetcher.gauge("gsc_calls_in_flight"))


async def _log_calls(driver: Driver, seconds: float) -> None:
    """Log the number of calls in the last minute every 20 seconds; return after `seconds`."""
    end = monotonic() + seconds
    while (remaining := end - monotonic()) > 0:
        await asyncio.sleep(min(20.0, remaining))
        since = monotonic() - 60
        recent = [call for call in driver.calls() if call["arrived"] > since]
        log_progress(f"  calls in the last minute: {len(recent)}, limit: {ALLOWED * CREDENTIALS}")


def _sequential_rate(environment: Environment) -> float:
    """Return the calls per second with `GSC_MAX_CONCURRENCY=1`, one call of each credential, for the same sync."""
    with running_pipeline(environment, "sequential", GSC_MAX_CONCURRENCY="1") as driver:
        before = len(driver.calls())
        start_fetcher(driver, "fetcher")

        async def measure() -> float:
            await driver.request_sync(SCENARIO.days)
            while len(driver.calls(before)) < 2:
                await asyncio.sleep(0.5)
            log_progress("the same sync, one call of each credential at a time")
            began, count = monotonic(), len(driver.calls(before))
            await asyncio.sleep(SEQUENTIAL_S)
            return (len(driver.calls(before)) - count) / (monotonic() - began)

        return asyncio.run(measure())


def _figures(calls: list[Call], timeline: Timeline, sequential: float) -> dict[str, Any]:
    phases = timeline.stable_phases()
    stable = [count for start, end in phases for count in minutes(calls, start, end)]
    steady_start, steady_end = phases[0]
    steady = sum(minutes(calls, steady_start, steady_end)) / (60 * max(1, int((steady_end - steady_start) // 60)))
    return {
        "peak_property": max(peaks(calls, lambda call: str(call["site"])).values()),
        "peak_credential": max(peaks(calls, lambda call: str(call["user"])).values()),
        "peak_project": peaks(calls, lambda _: "project")["project"],
        "allowed_property_and_credential": ALLOWED,
        "allowed_project": ALLOWED_PROJECT,
        "utilisation": round(sum(stable) / (ALLOWED * CREDENTIALS * len(stable)), 4),
        "minutes_without_a_change": stable,
        "speedup": round(steady / sequential, 1),
        "calls_per_s": round(steady, 2),
        "calls_per_s_sequential": round(sequential, 3),
        "repeated_clean": repeats(calls, timeline.left, timeline.killed),
        "repeated_kill": repeats(calls, timeline.killed, timeline.ended),
        "in_flight_at_kill": timeline.in_flight_at_kill,
        "calls_under_way_at_kill": timeline.calls_at_kill,
        "refused": sum(call["status"] in (403, 429) for call in calls),
        "calls": len(calls),
        "pages": len({page_of(call) for call in calls}),
    }
