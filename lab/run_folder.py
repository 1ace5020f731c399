"""A folder in which a pipeline runs: who runs it, and how it is reached."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from lab.errors import LabError

_LOCK = "running.lock"
_KEEPERS = "keepers.lock"
_REACH = "running.json"
_LOOK_EVERY_S = 0.1
_REMAINS_S = 30.0
"""For the servers of one that was killed to end."""


class Endpoints(msgspec.Struct, frozen=True):
    """How a pipeline that runs is reached; kept after its end, so that the next one has the same ports."""

    pid: int
    environment: dict[str, str]
    """What the other commands need."""
    http: dict[str, str]
    """The services' addresses by name: probes, metrics, and the planner's API."""
    ports: dict[str, int]
    """Of servers and services, all on this machine."""


def make_folder(folder: Path) -> None:
    """Make it unless it is there. Raises LabError when something else is, or OSError."""
    if folder.exists() and not folder.is_dir():
        raise LabError(f"{folder}: not a folder")
    folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only one that runs there, for the length of a block. Raises LabError.

    The system frees a lock with the processes that have it, however they end. One is ours alone; the other our keepers
    have as well, so that after one that was killed the next waits until all that it had started has ended.
    """
    make_folder(folder)
    with (folder / _LOCK).open("a", encoding="utf-8") as lock, (folder / _KEEPERS).open("a", encoding="utf-8") as kept:
        if not _locks(lock):
            raise LabError(f"{folder}: a pipeline runs there already, process {lock_holder(folder)}")
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        _await_remains(kept, folder)
        os.set_inheritable(kept.fileno(), True)
        try:
            yield
        finally:
            fcntl.flock(kept, fcntl.LOCK_UN)


def _await_remains(kept: IO[str], folder: Path) -> None:
    deadline = time.monotonic() + _REMAINS_S
    while not _locks(kept):
        if time.monotonic() > deadline:
            raise LabError(f"{folder}: servers of a pipeline that was killed there have not ended")
        time.sleep(_LOOK_EVERY_S)


def _locks(file: IO[str], kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_holder(folder: Path) -> int | None:
    """The process that runs there, or None."""
    try:
        with (folder / _LOCK).open(encoding="utf-8") as lock:
            return None if _locks(lock, fcntl.LOCK_SH) else int(lock.read() or 0) or None
    except (FileNotFoundError, NotADirectoryError):
        return None


def wait_until_free(folder: Path, deadline_s: float) -> bool:
    """Wait until nobody runs there; False when somebody still does at the deadline."""
    deadline = time.monotonic() + deadline_s
    while lock_holder(folder) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True


def save_endpoints(folder: Path, reach: Endpoints) -> None:
    """Write it down, for our eyes only: a password is in it."""
    scratch = folder / f"{_REACH}.new"
    scratch.touch(mode=0o600)
    scratch.write_bytes(msgspec.json.encode(reach))
    scratch.replace(folder / _REACH)


def last_endpoints(folder: Path) -> Endpoints | None:
    """That of the pipeline that runs there, or of the last one that did; None when there was none."""
    try:
        return msgspec.json.decode((folder / _REACH).read_bytes(), type=Endpoints)
    except (OSError, msgspec.DecodeError):
        return None


def current_endpoints(folder: Path) -> Endpoints | None:
    """That of the pipeline that runs there; None when none does, or when it only starts."""
    reach = last_endpoints(folder)
    return reach if reach and reach.pid == lock_holder(folder) else None
