"""The simulated Search Console for a pipeline in containers, with the catalog that goes with it.

`python -m lab.simulator_service FOLDER [--host H] [--port N] [--root URL]` writes the demo's catalog and credential
files into the folder, and serves until SIGTERM. Catalog and keys stay there: with the same folder, root and port it is
the same Search Console when it starts again.
"""

import argparse
import signal
import sys
from pathlib import Path
from threading import Event

from lab.days import last_day
from lab.errors import LabError
from lab.scenario import Scenario, start_simulator

LOOK_EVERY_S = 1.0


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lab.simulator_service")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", default="0")
    parser.add_argument("--root", help="how the fetchers reach it, such as http://simulator:8090")
    arguments = parser.parse_args()
    given = {"--host": arguments.host, "--port": arguments.port, "--root": arguments.root}
    listening = [text for option, value in given.items() if value for text in (option, value)]
    catalog = arguments.folder / "catalog.yaml"
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        # Whoever waits for the catalog waits for one who serves it.
        catalog.unlink(missing_ok=True)
        google = start_simulator(Scenario().simulator(last_day()), arguments.folder, listening=listening)
    except (LabError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"Search Console, simulated: {google.root}; its catalog: {google.catalog}", flush=True)
    try:
        while google.process.running and not stop.wait(LOOK_EVERY_S):
            pass
    finally:
        google.process.stop()
    return 0 if stop.is_set() else 1


if __name__ == "__main__":
    raise SystemExit(main())
