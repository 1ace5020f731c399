import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.processes import free_port, port_again
from lab.run_folder import Reach, freed, held, holder, keep_reach, last_reach, reach_now

HOLD = """
import sys, time
from pathlib import Path
from lab.run_folder import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def a_reach(pid: int) -> Reach:
    return Reach(pid, {"GSC_CATALOG": "catalog.yaml"}, {"sink": "http://127.0.0.1:1"}, {"sink": 1})


def test_one_runs_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert holder(folder) is None
    with held(folder):
        assert holder(folder) == os.getpid()
        with pytest.raises(LabError, match=f"{folder}: a pipeline runs there already, process {os.getpid()}"):
            held(folder).__enter__()
        assert not freed(folder, 0)
    assert holder(folder) is None
    with held(folder):
        assert holder(folder) == os.getpid()


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    assert holder(tmp_path) == process.pid
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    process.stdout.close()
    assert freed(tmp_path, 20)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert holder(tmp_path / "file") is None
    with pytest.raises(LabError, match="file: not a folder"):
        held(tmp_path / "file").__enter__()


def test_how_it_is_reached_is_kept_for_the_next_time(tmp_path: Path) -> None:
    assert last_reach(tmp_path) is None
    with held(tmp_path):
        keep_reach(tmp_path, a_reach(os.getpid()))
        assert reach_now(tmp_path) == a_reach(os.getpid())
        assert (tmp_path / "running.json").stat().st_mode & 0o077 == 0
        keep_reach(tmp_path, a_reach(1))
        assert reach_now(tmp_path) is None  # of somebody before
    assert last_reach(tmp_path) == a_reach(1)
    (tmp_path / "running.json").write_text("{")
    assert last_reach(tmp_path) is None


def test_a_port_is_had_again_unless_somebody_has_it() -> None:
    port = free_port()
    assert port_again(port) == port
    assert port_again(None) != 0
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert port_again(port) != port
