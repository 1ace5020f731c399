"""One pipeline runs in a folder at a time, and stores its endpoints there."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.run_folder import (
    Endpoints,
    current_endpoints,
    folder_lock,
    last_endpoints,
    lock_holder,
    save_endpoints,
    wait_until_free,
)

HOLD_LOCK = """
import sys
from pathlib import Path
from lab.run_folder import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def endpoints(pid: int) -> Endpoints:
    return Endpoints(pid, {"GSC_CATALOG": "a catalog.yaml"}, {"sink": "http://127.0.0.1:1"}, {"sink": 1})


def test_the_lock_excludes_a_second_pipeline_until_it_is_released(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    message = f"{folder}: process {os.getpid()} runs a pipeline in this folder already"
    assert lock_holder(folder) is None
    with folder_lock(folder):
        assert lock_holder(folder) == os.getpid()
        with pytest.raises(LabError, match=message), folder_lock(folder):
            pass
        assert not wait_until_free(folder, 0)
    assert lock_holder(folder) is None
    with folder_lock(folder):
        assert lock_holder(folder) == os.getpid()


def test_the_lock_of_a_killed_process_is_released(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", HOLD_LOCK, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        assert lock_holder(tmp_path) == process.pid
        process.send_signal(signal.SIGKILL)
    assert wait_until_free(tmp_path, 20)


def test_a_path_that_is_a_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert lock_holder(tmp_path / "file") is None
    with pytest.raises(LabError, match="file: not a folder"), folder_lock(tmp_path / "file"):
        pass


def test_endpoints_are_stored_privately_and_kept_after_the_pipeline(tmp_path: Path) -> None:
    assert last_endpoints(tmp_path) is None
    with folder_lock(tmp_path):
        save_endpoints(tmp_path, endpoints(os.getpid()))
        assert current_endpoints(tmp_path) == endpoints(os.getpid())
        assert (tmp_path / "running.json").stat().st_mode & 0o077 == 0
        assert (tmp_path / "env.sh").stat().st_mode & 0o077 == 0
        assert (tmp_path / "env.sh").read_text() == "export GSC_CATALOG='a catalog.yaml'\n"
    assert current_endpoints(tmp_path) is None
    assert last_endpoints(tmp_path) == endpoints(os.getpid())


def test_endpoints_of_an_earlier_process_are_not_current(tmp_path: Path) -> None:
    with folder_lock(tmp_path):
        save_endpoints(tmp_path, endpoints(1))
        assert current_endpoints(tmp_path) is None
    assert last_endpoints(tmp_path) == endpoints(1)


def test_a_damaged_file_of_endpoints_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "running.json").write_text("{")
    assert last_endpoints(tmp_path) is None
