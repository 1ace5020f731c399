"""The Search Console simulator as a container, with the catalog of its properties.

`python -m lab.simulator_service FOLDER [--host H] [--port N] [--root URL]` writes the demo's catalog and credential
files into the folder, and serves until SIGTERM. The folder also keeps the simulator's keys: with the same folder, root
and port, credentials stay valid after a restart.
"""

import argparse
import signal
import sys
from pathlib import Path
from threading import Event

from lab.errors import LabError
from lab.scenario import Scenario, last_day, start_simulator

POLL_S = 1.0


def main() -> int:
    """Run the simulator; return 0 after SIGTERM or SIGINT, 1 when it exits, and 2 when it does not start."""
    arguments = _parse_arguments()
    options = {"--host": arguments.host, "--port": arguments.port, "--root": arguments.root}
    listening = [text for option, value in options.items() if value for text in (option, value)]
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        # Other containers wait for the catalog, so a catalog of an earlier start must not be there before the server.
        (arguments.folder / "catalog.yaml").unlink(missing_ok=True)
        simulator = start_simulator(Scenario().simulator(last_day()), arguments.folder, listening=listening)
    except (LabError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"Search Console simulator: {simulator.root}; catalog: {simulator.catalog}", flush=True)
    try:
        while simulator.process.running and not stop.wait(POLL_S):
            pass
    finally:
        simulator.process.stop()
    return 0 if stop.is_set() else 1


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lab.simulator_service")
    parser.add_argument("folder", type=Path, help="folder for the catalog, the credential files and the keys")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", default="0", help="port to listen on (default: a free port)")
    parser.add_argument("--root", help="URL by which the fetchers reach the simulator, such as http://simulator:8090")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
