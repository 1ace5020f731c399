"""The lab's servers end, also when whoever started them is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.broker import find_java
from lab.choosing import LabChoice, running_servers
from lab.errors import LabError
from lab.processes import Command, Process, free_port
from support.waiting import until

START = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in its background
from lab.database import DatabaseOptions, running_database
from lab.processes import Command, Process
from pathlib import Path
with running_database(DatabaseOptions(), progress=lambda line: None) as database:
    other = Process(Command("sleep", ["sleep", "600"], Path(sys.argv[1])))
    print(database.process.pid, other.pid, flush=True)
    time.sleep(600)
"""


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\tZ " not in Path(f"/proc/{pid}/status").read_text() if Path(f"/proc/{pid}").exists() else True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
async def test_nothing_is_left_behind(tmp_path: Path, number: int) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", START, str(tmp_path / "log")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    assert all(map(is_running, pids))
    parent.send_signal(number)
    parent.wait(30)
    parent.stdout.close()
    await until(lambda: not any(map(is_running, pids)), 20, "both servers are gone")


def test_a_command_that_ends_at_its_start_tells_its_log(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "print('no room'); raise SystemExit(3)"]
    process = Process(Command("the server", argv, tmp_path / "log"))
    with pytest.raises(LabError, match="the server ended at its start: no room"):
        process.await_ready(lambda: False, 20)
    assert process.wait() == 3


def test_servers_that_are_not_there_are_told() -> None:
    port = free_port()
    with pytest.raises(LabError, match=rf"--kafka 127.0.0.1:{port}"), running_servers(LabChoice(f"127.0.0.1:{port}")):
        pass
    dsn = f"postgresql://127.0.0.1:{port}/x"
    choice = LabChoice("127.0.0.1:1", dsn)
    with pytest.raises(LabError), running_servers(choice):
        pass


def test_a_java_that_does_not_run_is_passed_over() -> None:
    assert find_java("/nonexistent/java") != "/nonexistent/java"
