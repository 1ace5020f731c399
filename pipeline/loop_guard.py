"""Ends a process whose event loop is blocked, such as by a call that never returns. A thread does it: no task can.

Neither /live nor the watchdog of the tasks can notice that, since they run in the event loop themselves.
"""

import asyncio
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.log import logger

BLOCKED_LIMIT = 30
"""Ticks of the thread without one of the event loop, after which the process ends."""
TICK_S = 1.0
LOG_S = 2.0
"""How long the last log line may take: the event loop may be blocked by the log itself."""
EXIT_BLOCKED = 1


class LoopGuard(threading.Thread):
    """Counts its own ticks since the last one of the event loop.

    It counts instead of looking at the clock: in a process that was frozen, the thread has slept as long as the loop.
    """

    def __init__(self) -> None:
        super().__init__(name="loop-guard", daemon=True)
        self._missed = 0
        self._ended = threading.Event()

    def tick(self) -> None:
        """Record that the event loop runs."""
        self._missed = 0

    def end(self) -> None:
        """End the thread."""
        self._ended.set()

    def run(self) -> None:
        """End the process when the event loop has missed BLOCKED_LIMIT ticks."""
        while not self._ended.wait(TICK_S):
            self._missed += 1
            if self._missed > BLOCKED_LIMIT:
                log = threading.Thread(target=_log_stacks, daemon=True)
                log.start()
                log.join(LOG_S)
                os._exit(EXIT_BLOCKED)


@contextmanager
def guarded_loop() -> Iterator[None]:
    """End the process if the running event loop is blocked during the block."""
    guard = LoopGuard()
    guard.start()
    ticking = asyncio.create_task(_tick(guard))
    try:
        yield
    finally:
        ticking.cancel()
        guard.end()


async def _tick(guard: LoopGuard) -> None:
    while True:
        guard.tick()
        await asyncio.sleep(TICK_S)


def _log_stacks() -> None:
    """Log where every thread is, the innermost call last."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    stacks = {
        names.get(ident, str(ident)): [
            f"{place.filename}:{place.lineno} {place.name}" for place in traceback.extract_stack(frame)
        ]
        for ident, frame in sys._current_frames().items()  # noqa: SLF001 - documented, with this name
    }
    logger(__name__).error("loop_blocked", seconds=BLOCKED_LIMIT * TICK_S, stacks=stacks)
