"""At the quota and never above it: two credentials, six properties, fetchers that come, go and die."""

import asyncio
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bench.environment import Fetcher, World, running_driver, running_world, start_fetcher
from bench.results import tell, write
from lab.call_log import Call, minutes, page_of, peaks, repeats
from lab.driver import Driver
from lab.scenario import Scenario
from pipeline.clock import monotonic

ALLOWED = 960
CREDENTIALS = 2
SETTLE_S = 30.0
"""After a change of members: the session timeout of a killed one, and the burst of the new owner."""
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
class Scene:
    """When what happened, on the monotonic clock."""

    began: float
    joined: float
    left: float
    killed: float
    ended: float
    in_flight_at_kill: int
    """Batches called for, whose end was not committed, as the fetcher's own gauge said just before."""
    calls_at_kill: int
    """Of them: calls under way."""

    def quiet(self) -> list[tuple[float, float]]:
        """Spans without a change of members."""
        changes = [self.began, self.joined, self.left, self.killed, self.ended]
        return [(start + SETTLE_S, end) for start, end in pairwise(changes)]


def run(steady_minutes: float) -> None:
    """Steady for so long, then a join, a clean leave and a SIGKILL with a minute and a half after each."""
    with running_world(SCENARIO, search_types=SEARCH_TYPES) as world:
        with running_driver(world, "quota", GSC_MAX_CONCURRENCY=CONCURRENCY) as pilot:
            scene = asyncio.run(_play(pilot, steady_minutes * 60))
            calls = [call for call in pilot.calls() if call["arrived"] < scene.ended]
        sequential = _sequential_rate(world)
    write("quota", _figures(calls, scene, sequential))


async def _play(pilot: Driver, steady_s: float) -> Scene:
    first, second = start_fetcher(pilot, "fetcher-1"), start_fetcher(pilot, "fetcher-2")
    await pilot.request_sync(SCENARIO.days)
    tell("waiting for the first call")
    while not pilot.calls():
        await asyncio.sleep(0.5)
    began = monotonic()
    await _watch(pilot, SETTLE_S + steady_s)
    third = start_fetcher(pilot, "fetcher-3")
    joined = monotonic()
    tell("a fetcher joins")
    await _watch(pilot, SETTLE_S + 60)
    leaving = max((first, second), key=_calls_in_flight)
    left = monotonic()
    tell(f"a fetcher with {_calls_in_flight(leaving)} calls under way leaves")
    leaving.process.stop()
    await _watch(pilot, SETTLE_S + 60)
    busiest = max({first, second, third} - {leaving}, key=_calls_in_flight)
    under_way, in_flight = _calls_in_flight(busiest), int(busiest.gauge("gsc_batches_uncommitted"))
    busiest.process.kill()
    killed = monotonic()
    tell(f"a fetcher with {in_flight} batches in flight, {under_way} calls of them under way, is killed")
    await _watch(pilot, SETTLE_S + 60)
    return Scene(began, joined, left, killed, monotonic(), in_flight, under_way)


def _calls_in_flight(fetcher: Fetcher) -> int:
    return int(fetcher.gauge("gsc_calls_in_flight"))


async def _watch(pilot: Driver, seconds: float) -> None:
    end = monotonic() + seconds
    while (left := end - monotonic()) > 0:
        await asyncio.sleep(min(20.0, left))
        since = monotonic() - 60
        recent = [call for call in pilot.calls() if call["arrived"] > since]
        tell(f"  calls in the last minute: {len(recent)} of {ALLOWED * CREDENTIALS} allowed")


def _sequential_rate(world: World) -> float:
    """Calls a second with `max_concurrency=1`, on the same work."""
    with running_driver(world, "sequential", GSC_MAX_CONCURRENCY="1") as pilot:
        before = len(pilot.calls())
        start_fetcher(pilot, "fetcher")

        async def play() -> float:
            await pilot.request_sync(SCENARIO.days)
            while len(pilot.calls(before)) < 2:
                await asyncio.sleep(0.5)
            tell("the same work, one call at a time")
            began, seen = monotonic(), len(pilot.calls(before))
            await asyncio.sleep(SEQUENTIAL_S)
            return (len(pilot.calls(before)) - seen) / (monotonic() - began)

        return asyncio.run(play())


def _figures(calls: list[Call], scene: Scene, sequential: float) -> dict[str, Any]:
    project = peaks(calls, lambda _: "project")["project"]
    quiet = [count for start, end in scene.quiet() for count in minutes(calls, start, end)]
    steady_start, steady_end = scene.quiet()[0]
    steady = sum(minutes(calls, steady_start, steady_end)) / (60 * max(1, int((steady_end - steady_start) // 60)))
    return {
        "peak_property": max(peaks(calls, lambda call: str(call["site"])).values()),
        "peak_credential": max(peaks(calls, lambda call: str(call["user"])).values()),
        "peak_project": project,
        "allowed_property_and_credential": ALLOWED,
        "allowed_project": 32_000,
        "utilisation": round(sum(quiet) / (ALLOWED * CREDENTIALS * len(quiet)), 4),
        "minutes_without_a_change": quiet,
        "speedup": round(steady / sequential, 1),
        "calls_per_s": round(steady, 2),
        "calls_per_s_sequential": round(sequential, 3),
        "repeated_clean": repeats(calls, scene.left, scene.killed),
        "repeated_kill": repeats(calls, scene.killed, scene.ended),
        "in_flight_at_kill": scene.in_flight_at_kill,
        "calls_under_way_at_kill": scene.calls_at_kill,
        "refused": sum(call["status"] in (403, 429) for call in calls),
        "calls": len(calls),
        "pages": len({page_of(call) for call in calls}),
    }
