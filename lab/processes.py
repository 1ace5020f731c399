"""Child processes that never outlive the process that started them, their environment, and free TCP ports."""

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
from lab.progress import Progress

STOP_S = 25.0
"""Longer than a service gives itself."""
PYTHON = (sys.executable, "-P")
"""-P: Python does not import packages of the same names from the user's working folder."""
_TAIL_LINES = 15
_CHANGE_USER = (
    "import os, sys; account = int(sys.argv[1]); os.setgroups([]); os.setgid(account); os.setuid(account);"
    " os.execv(sys.argv[2], sys.argv[2:])"
)
_INHERITED = ("PATH", "HOME", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "TMPDIR")
_COVERAGE = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")  # `make coverage` counts child processes, too
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_GOOGLE = ("GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG", "GCE_METADATA_HOST", "NO_GCE_CHECK")
"""Where google-auth finds Application Default Credentials."""


def inherited_environment() -> dict[str, str]:
    """Return the variables that a child process needs from this one: PATH, certificates, proxies, and Google's."""
    names = (*_INHERITED, *_COVERAGE, *_GOOGLE, *_PROXIES, *map(str.lower, _PROXIES))
    return {name: os.environ[name] for name in names if name in os.environ}  # noqa: TID251 - passed on, not interpreted


@dataclass(frozen=True)
class Command:
    """A command to start."""

    name: str
    """Its name in error messages."""
    argv: Sequence[str]
    log: Path
    """The file that its output is appended to. The file beside it, with the suffix `.pid`, has its process id."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """All its environment variables: none are added."""
    user: int | None = None
    """The user id to run as, when this process runs as root; None: as this process."""
    scratch: Path | None = None
    """A temporary folder of this process, which the supervisor removes if this process is killed."""


class Process:
    """A running command under `lab.supervisor`. The constructor raises LabError when the command does not start."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._supervisor = _supervise(command)
        self.pid = self._read_pid()
        """Process id of the command, not of its supervisor."""

    def restart(self) -> None:
        """Start the command again after its end. Raises LabError when it does not start."""
        self._close_pipes()
        self._supervisor = _supervise(self._command)
        self.pid = self._read_pid()

    @property
    def name(self) -> str:
        """The command's name in error messages."""
        return self._command.name

    def _read_pid(self) -> int:
        line = self._supervisor.stdout.readline() if self._supervisor.stdout else b""
        if not line:
            raise LabError(f"{self.name} did not start: {self.tail()}")
        self._command.log.with_suffix(".pid").write_bytes(line)
        return int(line)

    @property
    def running(self) -> bool:
        """Whether the command is still running."""
        return self._supervisor.poll() is None

    @property
    def end(self) -> str | None:
        """How the command has ended: its exit code, or the signal that killed it; None while it runs."""
        code = self._supervisor.poll()
        if code is None:
            return None
        number = -code if code < 0 else code - 128  # a supervisor returns 128 + N, as a shell does
        with suppress(ValueError):
            return f"{self.name} was killed by {signal.Signals(number).name}, signal {number}"
        return f"{self.name} exited with code {code}"

    def await_ready(self, ready: Callable[[], bool], deadline_s: float) -> None:
        """Wait until `ready()` is true. Raises LabError with the end of the log when the command exits or is late."""
        deadline = time.monotonic() + deadline_s
        while not ready():
            if not self.running:
                raise LabError(f"{self.name} exited during its start: {self.tail()}")
            if time.monotonic() > deadline:
                raise LabError(f"{self.name} was not ready after {deadline_s:.0f} s: {self.tail()}")
            time.sleep(0.05)

    def tail(self) -> str:
        """Return the last lines of the log."""
        with suppress(OSError):
            return "\n".join(self._command.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
        return "(no log)"

    def signal(self, number: int) -> None:
        """Send a signal to the command, if it is still there."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL and wait for the exit."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """Send SIGTERM, and SIGKILL after STOP_S; return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait for the exit, and send SIGKILL after STOP_S; return the exit code."""
        try:
            self._supervisor.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self._supervisor.wait(STOP_S)
        self._close_pipes()
        return self._supervisor.returncode

    def _close_pipes(self) -> None:
        for pipe in (self._supervisor.stdin, self._supervisor.stdout):
            if pipe is not None:
                pipe.close()


def _supervise(command: Command) -> subprocess.Popen[bytes]:
    with command.log.open("ab") as log:
        return subprocess.Popen(
            [*PYTHON, "-m", "lab.supervisor", *_scratch(command), "--", *_as_user(command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=dict(command.environment),
            close_fds=False,  # the supervisor inherits the lock of the run folder, and holds it while it runs
            start_new_session=True,  # Ctrl-C reaches this process alone, which stops the others in order
        )


def _scratch(command: Command) -> list[str]:
    return [str(command.scratch)] if command.scratch else []


def _as_user(command: Command) -> list[str]:
    """Return the command line, which changes the user first if one is given.

    Python changes the user, because no other program that can do it is installed on every system.
    """
    if command.user is None:
        return list(command.argv)
    return [*PYTHON, "-c", _CHANGE_USER, str(command.user), *command.argv]


class ProcessWatch:
    """Reports each process that ends, once, and starts those that have ended again."""

    def __init__(self, processes: Sequence[Process], progress: Progress) -> None:
        self._processes = processes
        self._progress = progress
        self._reported: set[Process] = set()

    def report_ended(self) -> None:
        """Report the processes that have ended since the last call."""
        for process in self._processes:
            if process not in self._reported and not process.running:
                self._reported.add(process)
                self._progress(
                    f"{process.end}; the others go on, and `gsc-stream up` starts it again: {process.tail()}"
                )

    def restart_ended(self) -> None:
        """Start every process again that has ended. Raises LabError."""
        self.report_ended()
        for process in self._reported:
            process.restart()
            self._progress(f"{process.name} was started again")
        self._reported.clear()


def free_port() -> int:
    """Return a TCP port of the loopback interface that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def previous_or_free_port(previous: int | None) -> int:
    """Return the previous port, or a free one when there is no previous port or it is in use."""
    with socket.socket() as probe, suppress(OSError):
        # As servers do: connections in TIME_WAIT do not count as use.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", previous or 0))
        port: int = probe.getsockname()[1]
        return port
    return free_port()
