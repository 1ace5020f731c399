"""How a service ends, and what it says last."""

import json
import subprocess
import sys

import pytest

SERVICE = """
import asyncio
from pipeline.errors import Fatal
from pipeline.process import StartError, run_service, run_until_stopped
from pipeline.settings import Settings

async def at_once():
    raise {error}

async def main(stop):
    await run_until_stopped(stop, at_once(), stop.wait())

raise SystemExit(run_service(Settings(log_format="json"), "sink", main))
"""


@pytest.mark.parametrize(
    ("error", "code", "event", "said"),
    [
        ("Fatal('the group is gone')", 1, "failed", "the group is gone"),
        ("ZeroDivisionError('a fault of ours')", 1, "crashed", "a fault of ours"),
    ],
)
def test_the_error_that_ends_a_service_is_logged_in_one_line(error: str, code: int, event: str, said: str) -> None:
    done = _ended(error)
    assert done.returncode == code
    [line] = [json.loads(text) for text in done.stderr.splitlines()]
    assert (line["event"], line["level"], line["service"]) == (event, "error", "sink")
    assert said in json.dumps(line)


STALLED = """
import asyncio
from pipeline.clock import monotonic
from pipeline.process import run_service, run_until_stopped, watch
from pipeline.settings import Settings
from pipeline import process, watchdog

process.TICK_S, watchdog.EXIT_AFTER_S = 0.02, 0.2

async def hangs_for_ever(heartbeat):
    await asyncio.Event().wait()

async def main(stop):
    heartbeat = watchdog.Heartbeat("outbox", 0.1, monotonic())
    dog = watchdog.Watchdog([heartbeat], monotonic())
    await run_until_stopped(stop, hangs_for_ever(heartbeat), watch(stop, dog))

raise SystemExit(run_service(Settings(log_format="json"), "producer", main))
"""


def test_a_stalled_loop_ends_the_process_and_the_log_says_where_it_hangs() -> None:
    done = subprocess.run([sys.executable, "-c", STALLED], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    [line] = [json.loads(text) for text in done.stderr.splitlines()]
    assert (line["event"], line["level"]) == ("stalled", "error")
    assert line["reason"].startswith("outbox: no progress for")
    assert any("hangs_for_ever line" in task for task in line["tasks"])


def test_a_missing_requirement_is_printed_and_exits_with_2() -> None:
    done = _ended("StartError('topic gsc.batches: missing')")
    assert (done.returncode, done.stderr) == (2, "topic gsc.batches: missing\n")


def _ended(error: str) -> subprocess.CompletedProcess[str]:
    source = SERVICE.format(error=error)
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
