"""The folder of a running pipeline: the lock that allows one pipeline per folder, and the endpoints."""

import fcntl
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from lab.errors import LabError

_LOCK = "running.lock"
_SUPERVISORS_LOCK = "supervisors.lock"
_ENDPOINTS = "running.json"
SHELL_FILE = "env.sh"
"""Its `export` lines point the commands of a shell at the pipeline: `. FOLDER/env.sh`."""
_POLL_S = 0.1
_CLEANUP_S = 30.0
"""How long to wait until the servers of a killed pipeline have stopped."""


class Endpoints(msgspec.Struct, frozen=True):
    """The addresses of a pipeline, stored in its folder. The next pipeline in the folder uses the same ports."""

    pid: int
    """The process that runs the pipeline."""
    environment: dict[str, str]
    """Environment variables that point the other commands at the pipeline."""
    http: dict[str, str]
    """Base URL of each service by name, for its probes and metrics, and of the producer for its API."""
    ports: dict[str, int]
    """Ports of servers and services by name, all on this machine."""


def make_folder(folder: Path) -> None:
    """Create the folder if it does not exist. Raises LabError when the path is not a folder, or OSError."""
    if folder.exists() and not folder.is_dir():
        raise LabError(f"{folder}: not a folder")
    folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock for the length of the block, so that no other pipeline runs in the folder.

    There are two file locks, and the operating system releases each when the last process that holds it ends. This
    process alone holds the first. The supervisors of its child processes inherit the second: after a pipeline was
    killed, the next one waits until all its child processes have ended.

    Raises LabError when a pipeline runs in the folder, or when child processes of a killed one do not end.
    """
    make_folder(folder)
    with (
        (folder / _LOCK).open("a", encoding="utf-8") as lock,
        (folder / _SUPERVISORS_LOCK).open("a", encoding="utf-8") as supervisors,
    ):
        if not _try_lock(lock):
            raise LabError(f"{folder}: process {lock_holder(folder)} runs a pipeline in this folder already")
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        _await_lock(supervisors, folder)
        os.set_inheritable(supervisors.fileno(), True)
        try:
            yield
        finally:
            fcntl.flock(supervisors, fcntl.LOCK_UN)


def _await_lock(supervisors: IO[str], folder: Path) -> None:
    deadline = time.monotonic() + _CLEANUP_S
    while not _try_lock(supervisors):
        if time.monotonic() > deadline:
            raise LabError(f"{folder}: a pipeline was killed in this folder, and its processes have not ended")
        time.sleep(_POLL_S)


def _try_lock(file: IO[str], kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_holder(folder: Path) -> int | None:
    """Return the id of the process that runs a pipeline in the folder, or None."""
    try:
        with (folder / _LOCK).open(encoding="utf-8") as lock:
            return None if _try_lock(lock, fcntl.LOCK_SH) else int(lock.read() or 0) or None
    except (FileNotFoundError, NotADirectoryError):
        return None


STOP_TIMEOUT_S = 90.0
"""How long a pipeline may take to stop: its services finish what they have begun."""


def wait_until_free(folder: Path, deadline_s: float) -> bool:
    """Wait until no pipeline runs in the folder; return False when one still runs after `deadline_s` seconds."""
    deadline = time.monotonic() + deadline_s
    while lock_holder(folder) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def save_endpoints(folder: Path, endpoints: Endpoints) -> None:
    """Store the endpoints, and the `export` lines for a shell. Raises OSError."""
    lines = "".join(f"{line}\n" for line in export_lines(endpoints))
    _write_privately(folder / SHELL_FILE, lines.encode())
    _write_privately(folder / _ENDPOINTS, msgspec.json.encode(endpoints))


def export_lines(endpoints: Endpoints) -> list[str]:
    """Return the commands by which a shell points other commands at the pipeline."""
    return [f"export {name}={shlex.quote(value)}" for name, value in endpoints.environment.items()]


def _write_privately(path: Path, content: bytes) -> None:
    """Replace a file by one that only this user can read, as the DSN contains a password."""
    scratch = path.with_name(f"{path.name}.new")
    scratch.touch(mode=0o600)
    scratch.write_bytes(content)
    scratch.replace(path)


def last_endpoints(folder: Path) -> Endpoints | None:
    """Return the endpoints of the pipeline that runs or last ran in the folder; None when there are none."""
    try:
        return msgspec.json.decode((folder / _ENDPOINTS).read_bytes(), type=Endpoints)
    except (OSError, msgspec.DecodeError):
        return None


def current_endpoints(folder: Path) -> Endpoints | None:
    """Return the endpoints of the pipeline that runs in the folder; None when none runs, or it is still starting."""
    endpoints = last_endpoints(folder)
    return endpoints if endpoints and endpoints.pid == lock_holder(folder) else None
