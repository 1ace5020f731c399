"""Time from a halt to the last call that starts anywhere, with calls of 30 seconds in flight."""

import asyncio
import os
import subprocess
import sys
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import httpx

from bench.environment import count_lost, running_environment, running_pipeline, start_fetcher, wait_until_finished
from bench.results import log_progress, write
from lab.call_log import Call, last_after, percentile
from lab.driver import Driver
from lab.processes import free_port
from lab.scenario import Scenario
from pipeline.clock import monotonic

SILENCE_S = 2.0
"""A halt has taken effect when no call starts for this time."""
TOKEN = "bench"  # noqa: S105 - of a producer that listens on the loopback interface during the benchmark
COMMAND_HALTS = 10
SCENARIO = Scenario(days=100, properties=2, rows=5, latency_s=30.0, full_days=False)
SITES = ("sc-domain:shop-1.example", "https://www.shop-2.example/")
SITES_BY_SCOPE: dict[str, tuple[str, ...]] = {
    "all": SITES,
    "credential:reader-1": SITES[:1],
    f"property:{SITES[1]}": SITES[1:],
}


class Measurement(NamedTuple):
    """A halt of one scope."""

    seconds: float
    """From the request to the last call that started."""
    calls_in_flight: int
    """When the halt was requested."""


def run(halts: int) -> None:
    """Halt `halts` times by HTTP, then by the command, finish the sync, and write the figures."""
    port = free_port()
    settings = {"GSC_MAX_CONCURRENCY": "600", "GSC_HTTP_TOKEN": TOKEN, "GSC_HTTP_TIMEOUT_S": "60"}
    with (
        running_environment(SCENARIO) as environment,
        running_pipeline(environment, "halt", **settings) as driver,
    ):
        driver.services.processes["producer"].stop()
        driver.services.start("producer", GSC_HTTP_PORT=str(port))
        start_fetcher(driver, "fetcher-1")
        start_fetcher(driver, "fetcher-2")
        write("halt", asyncio.run(_measure(driver, f"http://127.0.0.1:{port}", halts)))


async def _measure(driver: Driver, root: str, halts: int) -> dict[str, object]:
    run = await driver.request_sync(SCENARIO.days)
    async with httpx.AsyncClient(base_url=root, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10) as client:
        by_http = []
        for number, scope in enumerate(islice(cycle(SITES_BY_SCOPE), halts), start=1):
            by_http.append(await _halt_by_http(driver, client, scope))
            log_progress(
                f"{number}/{halts} {scope}: {by_http[-1].calls_in_flight} calls in flight,"
                f" last call after {by_http[-1].seconds:.3f} s"
            )
        count = COMMAND_HALTS if halts >= COMMAND_HALTS else 1
        by_command = [await _halt_by_command(driver, client) for _ in range(count)]
    driver.post("settings", {"latency_s": 0.0})
    lost = await count_lost(driver, await wait_until_finished(driver, run), SCENARIO.days)
    times = [measurement.seconds for measurement in by_http]
    return {
        "halts": len(times),
        "p50_s": round(percentile(times, 0.5), 4),
        "p99_s": round(percentile(times, 0.99), 4),
        "max_s": round(max(times), 4),
        "calls_under_way_p50": percentile([measurement.calls_in_flight for measurement in by_http], 0.5),
        "command_p50_s": round(percentile(by_command, 0.5), 4),
        "command_max_s": round(max(by_command), 4),
        "lost": lost,
    }


async def _halt_by_http(driver: Driver, client: httpx.AsyncClient, scope: str) -> Measurement:
    sites = SITES_BY_SCOPE[scope]
    in_flight = await _await_calls(driver, sites)
    began = monotonic()
    await _post_halt(client, scope, "halted")
    seconds = await _await_silence(driver, sites, began)
    await _post_halt(client, scope, "running")
    return Measurement(seconds, in_flight)


async def _halt_by_command(driver: Driver, client: httpx.AsyncClient) -> float:
    """Return the seconds from the start of `gsc-stream halt all` to the last call that started."""
    await _await_calls(driver, SITES)
    began = monotonic()
    await asyncio.to_thread(_run_command, driver, "halt", "all", "--reason", "benchmark")
    seconds = await _await_silence(driver, SITES, began)
    await _post_halt(client, "all", "running")
    return seconds


async def _post_halt(client: httpx.AsyncClient, scope: str, state: str) -> None:
    if state == "running":
        (await client.delete(f"/v1/halts/{quote(scope, safe='')}")).raise_for_status()
    else:
        (await client.post("/v1/halts", json={"scope": scope, "reason": "benchmark"})).raise_for_status()


async def _await_calls(driver: Driver, sites: tuple[str, ...]) -> int:
    """Wait until calls for every site are starting; return the number of calls in flight."""
    while True:
        since = monotonic() - 1.0
        calls = driver.calls()
        if {call["site"] for call in calls if call["arrived"] > since} >= set(sites):
            return sum(call["finished"] is None and call["arrived"] > monotonic() - 30 for call in calls)
        await asyncio.sleep(0.2)


async def _await_silence(driver: Driver, sites: tuple[str, ...], began: float) -> float:
    """Wait until no call for the sites starts for SILENCE_S; return the seconds from `began` to the last call."""
    while True:
        await asyncio.sleep(SILENCE_S)
        calls: list[Call] = [call for call in driver.calls() if call["site"] in sites]
        last = last_after(calls, began)
        if monotonic() - (began + last) >= SILENCE_S:
            return last


def _run_command(driver: Driver, *arguments: str) -> None:
    command = Path(sys.executable).with_name("gsc-stream")
    environment = {**os.environ, **driver.setup.environment}  # noqa: TID251 - passed on, not interpreted
    subprocess.run([command, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)
