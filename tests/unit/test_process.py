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

run_service(Settings(log_format="json"), "sink", main)
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

run_service(Settings(log_format="json"), "producer", main)
"""


def test_a_stalled_loop_ends_the_process_and_the_log_says_where_it_hangs() -> None:
    done = _run(STALLED)
    assert done.returncode == 1
    [line] = [json.loads(text) for text in done.stderr.splitlines()]
    assert (line["event"], line["level"]) == ("stalled", "error")
    assert line["reason"].startswith("outbox: no progress for")
    assert any("hangs_for_ever line" in task for task in line["tasks"])


HANGS_AT_STOP = """
import asyncio
import signal
import threading
from pipeline.process import run_service
from pipeline.settings import Settings

async def never_ends():
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

async def main(stop):
    {hang}
    signal.raise_signal(signal.SIGTERM)
    await {ending}

run_service(Settings(log_format="json"), "sink", main, stop_s=0.3)
"""


def test_a_stop_that_hangs_is_cut_short_and_the_log_says_where() -> None:
    done = _run(HANGS_AT_STOP.format(hang="", ending="never_ends()"))
    assert done.returncode == 1
    [line] = [json.loads(text) for text in done.stderr.splitlines()]
    assert (line["event"], line["level"]) == ("stop_cut_short", "error")
    assert any("never_ends line" in task for task in line["tasks"])


def test_a_thread_that_hangs_delays_no_stop() -> None:
    hang = "threading.Thread(target=threading.Event().wait).start()"
    done = _run(HANGS_AT_STOP.format(hang=hang, ending="stop.wait()"))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_missing_requirement_is_printed_and_exits_with_2() -> None:
    done = _ended("StartError('topic gsc.batches: missing')")
    assert (done.returncode, done.stderr) == (2, "topic gsc.batches: missing\n")


def _ended(error: str) -> subprocess.CompletedProcess[str]:
    return _run(SERVICE.format(error=error))


def _run(source: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False, timeout=50)
