"""Supervisor of one command: `python -m lab.supervisor [SCRATCH] -- COMMAND...`.

The supervisor stops the command when its own standard input is closed, so the command also stops when the parent
process is killed: the operating system then closes the other end of the pipe. In that case the supervisor removes the
scratch folder too, because the parent cannot.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading

GRACE_S = 10.0


def main(argv: list[str]) -> int:
    """Run the command until it exits or standard input is closed; return its exit code."""
    separator = argv.index("--")
    scratch, command = argv[1:separator], argv[separator + 1 :]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True)
    print(child.pid, flush=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: _terminate(child))
    abandoned = threading.Event()
    threading.Thread(target=_watch_stdin, args=(child, abandoned), daemon=True).start()
    code = child.wait()
    if abandoned.is_set():
        for folder in scratch:
            shutil.rmtree(folder, ignore_errors=True)
    return code if code >= 0 else 128 - code


def _watch_stdin(child: subprocess.Popen[bytes], abandoned: threading.Event) -> None:
    while os.read(0, 1024):
        pass
    abandoned.set()
    _terminate(child)
    try:
        child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)


def _terminate(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
