"""The services as processes, on a real Kafka and a real PostgreSQL, against the simulator."""

import asyncio
import json
import os
import signal
import subprocess
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from fetcher.circuit_breaker import FAILURES_IN_A_ROW
from lab.scenario import Scenario, start_simulator
from lab.search_console.settings import Fault
from lab.servers import Servers
from pipeline.consumer_lag import LagReader
from pipeline.contracts import codec
from pipeline.contracts.topics import BATCHES, DEAD_LETTERS, RESULTS, SYNC_REQUESTS
from pipeline.publisher import Publisher
from support.examples import a_batch, some_rows
from support.pipeline import (
    COMMAND,
    FINISHED_S,
    LAST_DAY,
    a_day,
    run_command,
    run_json,
    running_pipeline,
    simulator_settings,
)
from support.wait import until

A_BATCH = codec.encode(a_batch()).decode()
POISON = [
    None,
    b"\xff{poison",
    b'{"type": "batch", "x": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    b"x" * 1_040_000,  # as much as a broker takes by default
    A_BATCH.replace("run-1", r"a\u0000b").encode(),
    A_BATCH.replace(a_batch().batch_id, "zz").encode(),
    A_BATCH.replace("2026-03-01", "9999-12-31").encode(),
    codec.encode(some_rows(a_batch(), ["a"], page_rows=100)),
    codec.encode(some_rows(a_batch(), ["a"], clicks=[-1.0])),
    codec.encode(some_rows(a_batch(generation=2**62), ["a"])),
]


def test_the_demo_ends_equal_to_the_source(servers: Servers, dsn: str) -> None:
    arguments = ["demo", "--json", "--days", "3", "--rows", "300", "--latency", "0.05"]
    given = ["--kafka", servers.bootstrap_servers, "--postgres", dsn]
    done = subprocess.run([COMMAND, *arguments, *given], capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["equal_to_source"] is True
    assert summary["calls"] == 3 * 2 * 3 + 6  # first pages, and the next ones of full days and days at the cap
    assert summary["rows"] > 100_000
    assert 0 < summary["peak_calls_per_minute"] <= 960
    assert summary["rows_fetched"] > summary["rows"]  # some rows are on two pages of their day
    assert set(summary) == {"rows", "rows_fetched", "calls", "seconds", "peak_calls_per_minute", "equal_to_source"}


def test_sequential_mode_makes_the_same_calls_and_rows_one_call_of_a_credential_at_a_time(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    world = simulator_settings(Scenario(days=5, rows=50, latency_s=0.0, full_days=False))
    with running_pipeline(servers, dsn, topic_prefix, folder, world, GSC_MAX_CONCURRENCY="1") as running:

        async def scene() -> None:
            run = await running.request_sync(5)
            assert await running.finished(run) == {"applied": 30}
            assert await running.differences(5) == []

        asyncio.run(scene())
        calls = running.calls()
        assert len(calls) == 30
        for user in world.users:
            own = [call for call in calls if call["user"] == user.id]
            assert len(own) == 15
            assert all(a["finished"] <= b["arrived"] for a, b in pairwise(own))


def test_passing_faults_cost_no_row(servers: Servers, dsn: str, topic_prefix: str, folder: Path) -> None:
    kinds: list[Any] = ["429", "quotaExceeded", "500", "503", "reset", "truncated", "truncated_gzip", "content_type"]
    kinds += ["invalid_json", "wrong_shape", "401", "userRateLimitExceeded", "rateLimitExceeded", "502", "504", "stall"]
    world = simulator_settings(
        Scenario(days=8, rows=100, latency_s=0.0, full_days=False), faults=tuple(Fault(kind=k, count=1) for k in kinds)
    )
    with running_pipeline(servers, dsn, topic_prefix, folder, world, GSC_HTTP_TIMEOUT_S="12") as running:

        async def scene() -> None:
            run = await running.request_sync(8)
            assert set(await running.finished(run)) == {"applied"}
            assert await running.differences(8) == []

        asyncio.run(scene())
        calls = running.calls()
        assert sorted(call["fault"] for call in calls if call["fault"]) == sorted(kinds)
        # Three faults in a row open a circuit. A try asks first for one row of a page that was fetched before.
        assert 0 <= len(calls) - 8 * 2 * 3 - len(kinds) <= len(kinds) // FAILURES_IN_A_ROW


def test_what_can_never_succeed_is_dead_and_the_rest_goes_on(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    bad_day = Fault(kind="400", day=a_day(1), site="sc-domain:shop-1.example")
    world = simulator_settings(Scenario(days=4, rows=20, latency_s=0.0, full_days=False), faults=(bad_day,))
    with running_pipeline(servers, dsn, topic_prefix, folder, world) as running:

        async def scene() -> None:
            run = await running.request_sync(4)
            assert await running.finished(run) == {"applied": 21, "dead": 3}
            different = await running.differences(4)
            assert {(item.property, item.date) for item in different} <= {("sc-domain:shop-1.example", a_day(1))}

        asyncio.run(scene())


def test_a_halt_stops_calls_and_a_resume_loses_nothing(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    world = simulator_settings(Scenario(days=20, rows=20, latency_s=2.0, full_days=False))
    with running_pipeline(servers, dsn, topic_prefix, folder, world, GSC_MAX_CONCURRENCY="1") as running:

        async def scene() -> None:
            run = await running.request_sync(20)
            await running.applied(run, 10)
            run_command(running, "halt", "all", "--reason", "a test").check_returncode()
            assert run_json(running, "halts")["halts"][0]["scope"] == "all"

            async def defer() -> bool:
                return (await running.pages(run)).get("published", 0) == 0

            await until(defer, FINISHED_S, "everything that was published is deferred or applied")
            before = len(running.calls())
            assert (await running.pages(run))["pending"] > 0
            assert len(running.calls()) == before
            running.post("settings", {"latency_s": 0.0})
            run_command(running, "resume", "all").check_returncode()
            assert await running.finished(run) == {"applied": 120}
            assert await running.differences(20) == []

        asyncio.run(scene())


def test_a_revised_day_follows_the_source(servers: Servers, dsn: str, topic_prefix: str, folder: Path) -> None:
    world = simulator_settings(Scenario(days=3, rows=200, latency_s=0.0, full_days=False))
    with running_pipeline(servers, dsn, topic_prefix, folder, world) as running:

        async def scene() -> None:
            await running.finished(await running.request_sync(3))
            change = {"date": LAST_DAY.isoformat(), "change": 5, "add": 7, "vanish": 9}
            for site in world.sites:
                running.post("revise", {"site": site.url, **change})
            assert await running.differences(3) != []
            await running.finished(await running.request_sync(3))
            assert await running.differences(3) == []

        asyncio.run(scene())


def test_poison_goes_to_the_dead_letters_and_the_partition_goes_on(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    world = simulator_settings(Scenario(days=3, rows=20, latency_s=0.0, full_days=False))
    with running_pipeline(servers, dsn, topic_prefix, folder, world) as running:

        async def scene() -> None:
            publisher = Publisher(running.setup.kafka, "poisoner")
            for topic, poison in product((SYNC_REQUESTS, BATCHES, RESULTS), POISON):
                await publisher.publish(topic.full_name(topic_prefix), f"key-{POISON.index(poison)}", poison)
            await publisher.close()
            assert await running.finished(await running.request_sync(3)) == {"applied": 18}
            assert await running.differences(3) == []
            lag = LagReader(running.setup.kafka, group="nobody", topic=DEAD_LETTERS.full_name(topic_prefix))

            async def all_dead_lettered() -> bool:
                return await lag.total() == 3 * len(POISON)

            await until(all_dead_lettered, 60, "every poisonous message is in the dead letters")
            dead_letters = await asyncio.to_thread(run_json, running, "dead-letters", "list")
            assert len(dead_letters) == 3 * len(POISON)
            no_json = [item for item in dead_letters if item["service"] == "sink" and "(byte 0)" in item["error"]]
            shown = [run_json(running, "dead-letters", "show", item["position"])["value"] for item in no_json]
            assert [value for value in shown if value.startswith("\\xff")] == ["\\xff{poison"]
            tried = await asyncio.to_thread(run_json, running, "dead-letters", "redrive", "--all", "--dry-run")
            assert tried["dead_letters"] == len(dead_letters)

        asyncio.run(scene())


def test_up_runs_the_pipeline_until_it_is_stopped(servers: Servers, dsn: str, topic_prefix: str, folder: Path) -> None:
    google = start_simulator(simulator_settings(Scenario(days=2, rows=20, full_days=False)), folder)
    data = folder / "data"
    data.mkdir()
    given = ["--kafka", servers.bootstrap_servers, "--postgres", dsn, "--api-root", google.root]
    argv = [COMMAND, "up", "--foreground", "--catalog", google.catalog, "--folder", data, *given]
    own_topics = {**os.environ, "GSC_TOPIC_PREFIX": topic_prefix}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=own_topics) as up:
        try:
            environment = {**os.environ, **exported_settings(up)}
            assert environment["GSC_TOPIC_PREFIX"] == topic_prefix
            checked = subprocess.run([COMMAND, "check"], env=environment, capture_output=True, text=True, check=False)
            assert checked.returncode == 0, checked.stdout
            days = ["--start", str(a_day(1)), "--end", str(LAST_DAY)]
            synced = subprocess.run(
                [COMMAND, "sync", "--all", *days, "--wait", "--json"],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert (synced.returncode, json.loads(synced.stdout)["pages"]) == (0, {"applied": 12}), synced.stderr
        finally:
            up.send_signal(signal.SIGTERM)
        assert up.wait(60) == 0
    google.process.stop()


def exported_settings(up: subprocess.Popen[str]) -> dict[str, str]:
    """The `export` lines that `up` prints once everything is ready; the first is of Kafka, the last of the topics."""
    assert up.stdout is not None
    settings: dict[str, str] = {}
    while "GSC_TOPIC_PREFIX" not in settings:
        line = up.stdout.readline()
        assert line, "up has ended"
        name, is_export, value = line.partition("export ")[2].partition("=")
        if is_export:
            settings[name] = value.strip().strip("'")
    return settings
