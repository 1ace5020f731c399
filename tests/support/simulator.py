"""A simulator in a thread of its own, for clients that block."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from lab.event_loop import loop_in_thread
from lab.search_console.keys import Keys
from lab.search_console.server import Simulator
from lab.search_console.settings import SimulatorSettings

_DEADLINE_S = 60.0


@contextmanager
def serving(settings: SimulatorSettings, keys: Keys | None = None, port: int = 0) -> Iterator[Simulator]:
    """A simulator that answers, until the end of the block."""
    with loop_in_thread("simulator") as loop:
        simulator = _on(loop, Simulator(settings, keys), port)
        try:
            yield simulator
        finally:
            asyncio.run_coroutine_threadsafe(simulator.stop(), loop).result(_DEADLINE_S)


def _on(loop: asyncio.AbstractEventLoop, simulator: Simulator, port: int) -> Simulator:
    asyncio.run_coroutine_threadsafe(simulator.start(port=port), loop).result(_DEADLINE_S)
    return simulator
