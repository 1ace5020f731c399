import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.processes import free_port, port_again
from lab.run_folder import (
    Endpoints,
    current_endpoints,
    last_endpoints,
    lock_holder,
    locked,
    save_endpoints,
    wait_until_free,
)

HOLD = """
import sys, time
from pathlib import Path
from lab.run_folder import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def a_reach(pid: int) -> Endpoints:
    return Endpoints(pid, {"GSC_CATALOG": "catalog.yaml"}, {"sink": "http://127.0.0.1:1"}, {"sink": 1})


def test_one_runs_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert lock_holder(folder) is None
    with locked(folder):
        assert lock_holder(folder) == os.getpid()
        with pytest.raises(LabError, match=f"{folder}: a pipeline runs there already, process {os.getpid()}"):
            locked(folder).__enter__()
        assert not wait_until_free(folder, 0)
    assert lock_holder(folder) is None
    with locked(folder):
        assert lock_holder(folder) == os.getpid()


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    assert lock_holder(tmp_path) == process.pid
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    process.stdout.close()
    assert wait_until_free(tmp_path, 20)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert lock_holder(tmp_path / "file") is None
    with pytest.raises(LabError, match="file: not a folder"):
        locked(tmp_path / "file").__enter__()


def test_how_it_is_reached_is_kept_for_the_next_time(tmp_path: Path) -> None:
    assert last_endpoints(tmp_path) is None
    with locked(tmp_path):
        save_endpoints(tmp_path, a_reach(os.getpid()))
        assert current_endpoints(tmp_path) == a_reach(os.getpid())
        assert (tmp_path / "running.json").stat().st_mode & 0o077 == 0
        save_endpoints(tmp_path, a_reach(1))
        assert current_endpoints(tmp_path) is None  # of somebody before
    assert last_endpoints(tmp_path) == a_reach(1)
    (tmp_path / "running.json").write_text("{")
    assert last_endpoints(tmp_path) is None


def test_a_port_is_had_again_unless_somebody_has_it() -> None:
    port = free_port()
    assert port_again(port) == port
    assert port_again(None) != 0
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert port_again(port) != port
