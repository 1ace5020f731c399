"""A simulator in a thread of its own, for clients that block."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lab.search_console.keys import Keys
from lab.search_console.server import Simulator
from lab.search_console.settings import SimulatorSettings


@contextmanager
def serving(settings: SimulatorSettings, keys: Keys | None = None, port: int = 0) -> Iterator[Simulator]:
    """A simulator that answers, until the end of the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    simulator = _on(loop, Simulator(settings, keys), port)
    try:
        yield simulator
    finally:
        asyncio.run_coroutine_threadsafe(simulator.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def _on(loop: asyncio.AbstractEventLoop, simulator: Simulator, port: int) -> Simulator:
    asyncio.run_coroutine_threadsafe(simulator.start(port=port), loop).result(10)
    return simulator
