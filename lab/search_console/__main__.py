"""`python -m lab.search_console [--host H] [--port N] [--root URL] --config FILE.json`: serve until SIGTERM.

Prints one line of JSON when it listens: {"root": ..., "token_uri": ...}.
"""

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

import msgspec

from lab.search_console.server import Simulator
from lab.search_console.settings import SimulatorSettings


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lab.search_console")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--root", help="how clients reach it; default: the host and the port")
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        settings = msgspec.json.decode(arguments.config.read_bytes(), type=SimulatorSettings)
    except (OSError, msgspec.DecodeError) as error:
        print(f"{arguments.config}: {error}", file=sys.stderr)
        return 2
    asyncio.run(_serve(settings, arguments))
    return 0


async def _serve(settings: SimulatorSettings, arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    simulator = Simulator(settings)
    await simulator.start(arguments.host, arguments.port, arguments.root)
    print(json.dumps({"root": simulator.root}), flush=True)
    await stop.wait()
    await simulator.stop()


if __name__ == "__main__":
    raise SystemExit(main())
