"""Waiting for a condition, with a deadline; never for a time."""

import asyncio
from collections.abc import Awaitable, Callable

from pipeline.clock import monotonic

SHORTEST_S, LONGEST_S = 0.02, 0.5
"""Between two looks; in between, a tenth of the time that has passed: looking takes work from what is waited for."""


STEPS = 10
"""More steps than any task of the unit tests takes between two things that it waits for."""


async def others_wait() -> None:
    """Let the other tasks run until each waits for something that has not happened."""
    for _ in range(STEPS):
        await asyncio.sleep(0)


async def until(condition: Callable[[], Awaitable[bool] | bool], deadline_s: float, what: str) -> None:
    """Return as soon as the condition holds; fail when it does not within the deadline."""
    begin = monotonic()
    while True:
        found = condition()
        if (await found) if isinstance(found, Awaitable) else found:
            return
        passed = monotonic() - begin
        if passed > deadline_s:
            raise AssertionError(f"not within {deadline_s} s: {what}")
        await asyncio.sleep(min(max(SHORTEST_S, passed / 10), LONGEST_S))
