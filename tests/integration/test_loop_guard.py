"""A service whose event loop is blocked, frozen or free, as a process."""

import json
import signal
import subprocess
import sys
import time

import pytest

LIMIT_S = 0.5
SERVICE = """
import asyncio
import os
import sys
import time
from pipeline import loop_guard
from pipeline.process import run_service
from pipeline.settings import Settings

loop_guard.TICK_S, loop_guard.BLOCKED_LIMIT, loop_guard.LOG_S = 0.05, 10, 0.5

async def main(stop):
    print("started", flush=True)
    {work}

def never_returns():
    time.sleep(3600)

run_service(Settings(log_format="json"), "sink", main)
"""


def started(work: str) -> subprocess.Popen[str]:
    source = SERVICE.format(work=work)
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", source], stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def test_a_blocked_event_loop_ends_the_process_and_the_log_says_where() -> None:
    with started("never_returns()") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    [line] = [json.loads(text) for text in errors.splitlines()]
    assert (line["event"], line["level"], line["seconds"]) == ("loop_blocked", "error", LIMIT_S)
    assert line["stacks"]["MainThread"][-1].endswith("never_returns")


def test_a_process_that_is_blocked_by_its_own_log_ends_too() -> None:
    with started("os.write(2, bytes(10_000_000))") as process:  # nobody reads the pipe
        assert process.wait(timeout=60) == 1


@pytest.mark.parametrize("frozen_s", [0.0, 3 * LIMIT_S])
def test_a_free_event_loop_and_a_frozen_process_are_not_blamed(frozen_s: float) -> None:
    with started("await stop.wait()") as process:
        process.send_signal(signal.SIGSTOP)
        time.sleep(frozen_s)
        process.send_signal(signal.SIGCONT)
        time.sleep(LIMIT_S)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
