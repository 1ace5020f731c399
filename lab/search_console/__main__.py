"""`python -m lab.search_console [--host H] [--port N] [--root URL] [--keys FOLDER] --config FILE.json`

Serve until SIGTERM. Prints one line of JSON, {"root": ...}, when it listens.
"""

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

import msgspec

from lab.search_console.keys import Keys
from lab.search_console.server import Simulator
from lab.search_console.settings import SimulatorSettings


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lab.search_console")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--root", help="address for clients; default: host and port")
    parser.add_argument("--keys", type=Path, help="folder for the keys; default: none, new keys at each start")
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        simulator = _simulator(arguments.config, arguments.keys)
        asyncio.run(_serve(simulator, arguments))
    except (OSError, ValueError) as error:
        print(f"the simulator cannot start: {error}", file=sys.stderr)
        return 2
    return 0


def _simulator(config: Path, folder: Path | None) -> Simulator:
    """Return a simulator with its keys, which take a while to generate. Raises OSError or ValueError."""
    try:
        settings = msgspec.json.decode(config.read_bytes(), type=SimulatorSettings)
    except msgspec.DecodeError as error:
        raise ValueError(f"{config}: {error}") from error
    keys = Keys(folder)
    for user in settings.users:
        if user.kind == "service_account":
            keys.private(user.id)
    return Simulator(settings, keys)


async def _serve(simulator: Simulator, arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await simulator.start(arguments.host, arguments.port, arguments.root)
        print(json.dumps({"root": simulator.root}), flush=True)
        await stop.wait()
    finally:
        await simulator.stop()


if __name__ == "__main__":
    raise SystemExit(main())
