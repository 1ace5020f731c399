"""Processes that the lab starts and, whatever happens, ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import LabError

STOP_S = 15.0
PYTHON = (sys.executable, "-P")
"""-P: a package of the same name in the user's working folder is not ours."""
_TAIL_LINES = 15
_CHANGE_USER = (
    "import os, sys; account = int(sys.argv[1]); os.setgroups([]); os.setgid(account); os.setuid(account);"
    " os.execv(sys.argv[2], sys.argv[2:])"
)


@dataclass(frozen=True)
class Command:
    """What to start. `environment` is the whole of it; `user` is an account to run as, when we are root."""

    name: str
    argv: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    user: int | None = None
    scratch: Path | None = None
    """A folder that we remove at the end, and the keeper does when we are killed before."""


class Process:
    """A running command under a keeper; its output goes to a log file."""

    def __init__(self, command: Command) -> None:
        self._command = command
        with command.log.open("ab") as log:
            self._keeper = subprocess.Popen(
                [*PYTHON, "-m", "lab.supervisor", *_scratch(command), "--", *_as_user(command)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=dict(command.environment),
                close_fds=False,  # so that the keeper has the lock of a folder, as long as it keeps something
                start_new_session=True,  # Ctrl-C is for us: we end the others in order
            )
        self.pid = self._read_pid()
        """Of the command itself, not of its keeper."""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self._command.name

    def _read_pid(self) -> int:
        line = self._keeper.stdout.readline() if self._keeper.stdout else b""
        if not line:
            raise LabError(f"{self.name} did not start: {self.tail()}")
        return int(line)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._keeper.poll() is None

    def await_ready(self, ready: Callable[[], bool], deadline_s: float) -> None:
        """Return when `ready()`; raises LabError with the log's tail when it ends before, or not in time."""
        deadline = time.monotonic() + deadline_s
        while not ready():
            if not self.running:
                raise LabError(f"{self.name} ended at its start: {self.tail()}")
            if time.monotonic() > deadline:
                raise LabError(f"{self.name} was not ready after {deadline_s:.0f} s: {self.tail()}")
            time.sleep(0.05)

    def tail(self) -> str:
        """The end of its log."""
        with suppress(OSError):
            return "\n".join(self._command.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
        return "(no log)"

    def signal(self, number: int) -> None:
        """Send a signal to the command."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """SIGTERM, then SIGKILL when it takes too long; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Until it ends by itself, or SIGKILL when it takes too long; returns the exit code."""
        try:
            self._keeper.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self._keeper.wait(STOP_S)
        for pipe in (self._keeper.stdin, self._keeper.stdout):
            if pipe is not None:
                pipe.close()
        return self._keeper.returncode


def _scratch(command: Command) -> list[str]:
    return [str(command.scratch)] if command.scratch else []


def _as_user(command: Command) -> list[str]:
    """The command, run by another account: Python itself changes to it, as no tool for that is everywhere."""
    if command.user is None:
        return list(command.argv)
    return [*PYTHON, "-c", _CHANGE_USER, str(command.user), *command.argv]


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def port_again(before: int | None) -> int:
    """The port of the last time, or a free one when there was none or somebody listens on it."""
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: old connections do not count
        probe.bind(("127.0.0.1", before or 0))
        port: int = probe.getsockname()[1]
        return port
    return free_port()
