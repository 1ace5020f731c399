"""What an operator does: replay, reconcile, redrive, cancel, restart, and the window that follows the calendar."""

import asyncio
import json
import os
import subprocess
from datetime import date
from pathlib import Path

import msgspec

from lab.scenario import Scenario, start_simulator
from lab.search_console.settings import Fault
from lab.servers import Servers
from pipeline.contracts.topics import RESULTS
from pipeline.publisher import Publisher
from support.pipeline import (
    COMMAND,
    SITES,
    Running,
    a_day,
    query,
    run_command,
    run_json,
    running_pipeline,
    simulator_settings,
)
from support.wait import until


def test_a_sync_that_waits_ends_with_1_when_pages_are_dead(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    faults = (Fault(kind="400", day=a_day(1), site=SITES[0]),)
    world = simulator_settings(Scenario(days=2, rows=20, full_days=False), faults=faults)
    with running_pipeline(servers, dsn, topic_prefix, folder, world) as running:
        asked_for = ("sync", "--all", "--start", a_day(1).isoformat(), "--end", a_day(0).isoformat(), "--wait")
        assert run_json(running, *asked_for, code=1)["pages"] == {"applied": 9, "dead": 3}
        others = (*asked_for[:2], "--start", a_day(0).isoformat(), *asked_for[4:])
        assert run_json(running, *others)["pages"] == {"applied": 6}


async def test_dead_letters_are_listed_shown_and_redriven(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    faults = (Fault(kind="400", day=a_day(1), site=SITES[0]),)
    world = simulator_settings(Scenario(days=3, rows=20, full_days=False), faults=faults)
    with running_pipeline(servers, dsn, topic_prefix, folder, world) as running:
        run = await running.request_sync(3)
        assert await running.finished(run) == {"applied": 15, "dead": 3}
        publisher = Publisher(running.setup.kafka, "test")
        await publisher.publish(RESULTS.full_name(topic_prefix), SITES[0], b"\xff{poison")
        await publisher.close()

        async def four_dead_letters() -> bool:
            return len(await asyncio.to_thread(run_json, running, "dead-letters", "list")) == 4

        await until(four_dead_letters, 60, "the poison is in the dead letters, too")
        dead_letters = run_json(running, "dead-letters", "list", "--reason", "bad_request")
        assert [(item["service"], item["property"], item["page"]) for item in dead_letters] == [
            ("fetcher", SITES[0], "dead")
        ] * 3
        shown = run_json(running, "dead-letters", "show", dead_letters[0]["position"])
        assert json.loads(shown["value"])["date"] == str(a_day(1))
        assert shown["error"].startswith("HTTP 400")
        assert run_command(running, "dead-letters", "redrive").returncode == 2

        found = {item["kind"] for item in run_json(running, "reconcile", code=1)["findings"]}
        assert found == {"dead"}
        running.post("faults", [])
        dry = run_json(running, "dead-letters", "redrive", "--reason", "bad_request", "--dry-run")
        assert dry == {"dry_run": True, "dead_letters": 3, "pending": 3, "halted": 0, "forwarded": 0, "skipped": 0}
        done = run_json(running, "dead-letters", "redrive", "--reason", "bad_request", "--rate", "100")
        assert done == {"dead_letters": 3, "pending": 3, "halted": 0, "forwarded": 0, "skipped": 0}
        assert await running.finished(run) == {"applied": 18}
        assert await running.differences(3) == []
        done = run_json(running, "dead-letters", "redrive", "--all", "--rate", "100")
        assert done == {"dead_letters": 4, "pending": 0, "halted": 0, "forwarded": 1, "skipped": 3}
        assert run_json(running, "reconcile")["findings"] == []


async def test_a_cancelled_run_ends_and_another_goes_on(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    world = simulator_settings(Scenario(days=200, rows=20, latency_s=0.5, full_days=False))
    with running_pipeline(servers, dsn, topic_prefix, folder, world, GSC_MAX_CONCURRENCY="2") as running:
        long = await running.request_sync(200)
        await running.applied(long, 5)
        cancelled = run_json(running, "cancel", long, "--reason", "a test")["cancelled_pages"]
        assert cancelled > 100
        assert run_json(running, "cancel", long, "--reason", "again")["cancelled_pages"] == 0
        pages = await running.pages(long)
        short = await running.request_sync(2)
        assert await running.finished(short) == {"applied": 12}
        finished = run_command(running, "cancel", short, "--reason", "late")
        assert finished.stdout == f"run {short} has no unfinished pages: nothing to cancel\n"
        assert [halt["scope"] for halt in run_json(running, "halts")["halts"]] == [f"run:{long}"]
        assert await running.pages(long) == pages
        assert set(pages) == {"applied", "cancelled"}
        unknown = run_command(running, "cancel", "nobody", "--reason", "x")
        assert (unknown.returncode, unknown.stderr) == (2, "RUN_ID: no run 'nobody' in the ledger\n")
        _refused_and_finished_at_once(running)


def _refused_and_finished_at_once(running: Running) -> None:
    """`sync --wait` when there is nothing to wait for."""
    dates = ("--end", str(a_day(1)), "--request-id", "mine")
    waited = run_json(running, "sync", "--all", "--start", str(a_day(1)), *dates, "--wait")
    assert waited["pages"] == {"applied": 6}
    other = run_command(running, "sync", "--all", "--start", str(a_day(2)), *dates, "--wait")
    assert (other.returncode, other.stdout) == (2, "")
    assert other.stderr == "--request-id: another request has used the id 'mine' before\n"
    other = run_command(running, "sync", "--all", "--start", str(a_day(2)), *dates)
    assert (other.returncode, other.stdout) == (2, "")
    assert other.stderr == "--request-id: another request has used the id 'mine' before\n"

    assert run_command(running, "halt", f"property:{SITES[0]}", "--reason", "a test").returncode == 0
    halted = run_json(running, "sync", "--all", "--start", str(a_day(3)), "--end", str(a_day(3)), "--wait", code=3)
    assert halted["pages"] == {"applied": 3, "pending": 3}
    assert [halt["scope"] for halt in halted["halts"]] == [f"property:{SITES[0]}"]
    assert run_command(running, "resume", f"property:{SITES[0]}").returncode == 0

    nothing = run_command(running, "sync", "--all", "--days", "1", "--wait", "--json")
    assert (nothing.returncode, json.loads(nothing.stdout)["pages"]) == (0, {})
    assert nothing.stderr.startswith("nothing to fetch: ")

    catalog = running.setup.catalog
    another = catalog.with_name("another.yaml")
    another.write_text(catalog.read_text().replace(SITES[0], "sc-domain:another.example"))
    environment = {**os.environ, **running.setup.environment, "GSC_CATALOG": str(another)}
    argv = [
        COMMAND,
        "sync",
        "--property",
        "sc-domain:another.example",
        "--start",
        str(a_day(2)),
        "--end",
        str(a_day(1)),
    ]
    refused = subprocess.run(
        [*argv, "--wait", "--json"], env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert (refused.returncode, refused.stdout) == (1, "")
    error = json.loads(refused.stderr.splitlines()[-1])
    assert error["detail"].startswith("the producer refuses the request: properties: unknown property ")


async def test_reconcile_finds_what_is_wrong_and_asks_for_it(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    world = simulator_settings(Scenario(days=5, rows=50, full_days=False))
    with running_pipeline(servers, dsn, topic_prefix, folder, world) as running:
        await running.finished(await running.request_sync(5))
        clean = run_json(running, "reconcile", "--sample", "2")
        assert (clean["findings"], clean["days"]) == ([], 5 * 2 * 3)
        # Somebody deletes rows; Google corrects another day, unseen; a day was never asked for.
        busy = await query(dsn, "select date, series from gsc.days where rows > 10 order by rows desc limit 1")
        await query(dsn, f"delete from gsc.facts where (date, series) = ('{busy[0][0]}', {busy[0][1]}) returning 1")
        revised = await query(
            dsn,
            "select d.date from gsc.days d join gsc.series s using (series)"
            f" where s.property = '{SITES[1]}' and s.report = 'by_date' and d.rows > 0"
            f" and d.date <> '{busy[0][0]}' limit 1",
        )
        change = {"date": revised[0][0].isoformat(), "change": 40, "add": 0, "vanish": 0}
        running.post("revise", {"site": SITES[1], **change})
        found = run_json(running, "reconcile", "--sample", "2", "--tolerance", "0", "--repair", code=1)
        kinds = {(item["kind"], date.fromisoformat(item["date"])) for item in found["findings"]}
        assert {("rows", busy[0][0]), ("totals", revised[0][0])} <= kinds
        assert found["requested"]

        async def no_findings() -> bool:
            done = await asyncio.to_thread(
                run_command, running, "reconcile", "--sample", "2", "--tolerance", "0", "--json"
            )
            return done.returncode == 0

        await until(no_findings, 60, "every day is complete again")


async def test_a_search_console_that_starts_again_takes_the_credentials_it_gave(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    """As when the simulator alone starts again in compose; with a reader of each kind, and tokens of a short life."""
    scenario = Scenario(days=20, properties=3, rows=10, latency_s=0.3, full_days=False)
    world = msgspec.structs.replace(simulator_settings(scenario), token_lifetime_s=5)
    with running_pipeline(servers, dsn, topic_prefix, folder, world, GSC_MAX_CONCURRENCY="2") as running:
        run = await running.request_sync(20)
        await running.applied(run, 10)
        port = running.simulator.root.rpartition(":")[2]
        running.simulator.process.stop()
        running.simulator = await asyncio.to_thread(start_simulator, world, folder, listening=("--port", port))
        try:
            assert await running.finished(run) == {"applied": 180}
            assert await running.differences(20) == []
            assert run_json(running, "halts")["halts"] == []
            assert {call["user"] for call in running.calls()} == {user.id for user in world.users}
        finally:
            running.simulator.process.stop()
