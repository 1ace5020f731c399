"""How soon a halt holds everywhere: fifty halts with calls of thirty seconds in flight."""

import asyncio
import os
import subprocess
import sys
from itertools import cycle, islice
from pathlib import Path

import httpx

from bench.environment import running_driver, running_world, start_fetcher
from bench.results import tell, write
from lab.call_log import Call, last_after, percentile
from lab.driver import Driver, all_finished
from lab.processes import free_port
from lab.scenario import Scenario
from pipeline.clock import monotonic

SILENT_S = 2.0
TOKEN = "bench"  # noqa: S105 - of a planner on loopback, for as long as the benchmark runs
BY_COMMAND = 10
SCENARIO = Scenario(days=100, properties=2, rows=5, latency_s=30.0, full_days=False)
SITES = ("sc-domain:shop-1.example", "https://www.shop-2.example/")
SCOPES: dict[str, tuple[str, ...]] = {
    "all": SITES,
    "credential:reader-1": SITES[:1],
    f"property:{SITES[1]}": SITES[1:],
}


def run(halts: int) -> None:
    """Halt by HTTP so often, and a few times by the command; then let the work end, and compare."""
    port = free_port()
    with running_world(SCENARIO) as world:
        settings = {"GSC_MAX_CONCURRENCY": "600", "GSC_HTTP_TOKEN": TOKEN, "GSC_HTTP_TIMEOUT_S": "60"}
        with running_driver(world, "halt", **settings) as pilot:
            pilot.services.processes["producer"].stop()
            pilot.services.start("producer", GSC_HTTP_PORT=str(port))
            start_fetcher(pilot, "fetcher-1")
            start_fetcher(pilot, "fetcher-2")
            write("halt", asyncio.run(_play(pilot, f"http://127.0.0.1:{port}", halts)))


async def _play(pilot: Driver, root: str, halts: int) -> dict[str, object]:
    work = await pilot.request_sync(SCENARIO.days)
    async with httpx.AsyncClient(base_url=root, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10) as client:

        async def order(scope: str, state: str) -> None:
            body = {"scope": scope, "state": state, "reason": "benchmark"}
            (await client.post("/v1/halts", json=body)).raise_for_status()

        times, under_way = [], []
        for number, scope in enumerate(islice(cycle(SCOPES), halts), start=1):
            under_way.append(await _flowing(pilot, SCOPES[scope]))
            began = monotonic()
            await order(scope, "halted")
            times.append(await _silence(pilot, SCOPES[scope], began))
            await order(scope, "running")
            tell(f"{number}/{halts} {scope}: {under_way[-1]} calls under way, last call after {times[-1]:.3f} s")
        by_command = []
        for _ in range(BY_COMMAND if halts >= BY_COMMAND else 1):
            await _flowing(pilot, SITES)
            began = monotonic()
            await asyncio.to_thread(_command, pilot, "halt", "all", "--reason", "benchmark")
            by_command.append(await _silence(pilot, SITES, began))
            await order("all", "running")
    pilot.post("settings", {"latency_s": 0.0})
    lost = await _lost(pilot, work)
    return {
        "halts": len(times),
        "p50_s": round(percentile(times, 0.5), 4),
        "p99_s": round(percentile(times, 0.99), 4),
        "max_s": round(max(times), 4),
        "calls_under_way_p50": percentile(under_way, 0.5),
        "command_p50_s": round(percentile(by_command, 0.5), 4),
        "command_max_s": round(max(by_command), 4),
        "lost": lost,
    }


async def _flowing(pilot: Driver, sites: tuple[str, ...]) -> int:
    """Wait until calls of every site are starting; returns how many are under way."""
    while True:
        since = monotonic() - 1.0
        calls = pilot.calls()
        if {call["site"] for call in calls if call["arrived"] > since} >= set(sites):
            return sum(call["finished"] is None and call["arrived"] > monotonic() - 30 for call in calls)
        await asyncio.sleep(0.2)


async def _silence(pilot: Driver, sites: tuple[str, ...], began: float) -> float:
    """Seconds from the command to the last call that was started, once nothing has been for a while."""
    while True:
        await asyncio.sleep(SILENT_S)
        calls: list[Call] = [call for call in pilot.calls() if call["site"] in sites]
        last = last_after(calls, began)
        if monotonic() - (began + last) >= SILENT_S:
            return last


def _command(pilot: Driver, *arguments: str) -> None:
    command = Path(sys.executable).with_name("gsc-stream")
    environment = {**os.environ, **pilot.setup.environment}  # noqa: TID251 - handed on, not read
    subprocess.run([command, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)


async def _lost(pilot: Driver, work: str) -> int:
    """Pages that are not applied and days that differ, once everything has had its time."""
    tell("no more halts: the work goes to its end")
    while not all_finished(await pilot.pages(work)):
        await asyncio.sleep(1.0)
    pages = await pilot.pages(work)
    return sum(count for state, count in pages.items() if state != "applied") + len(
        await pilot.differences(SCENARIO.days)
    )
