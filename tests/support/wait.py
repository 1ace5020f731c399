"""Waiting for a condition, with a deadline; never for a time."""

import asyncio
from collections.abc import Awaitable, Callable

from pipeline.clock import monotonic

EVERY_S = 0.05


async def until(condition: Callable[[], Awaitable[bool] | bool], deadline_s: float, what: str) -> None:
    """Return as soon as the condition holds; fail when it does not within the deadline."""
    end = monotonic() + deadline_s
    while True:
        found = condition()
        if (await found) if isinstance(found, Awaitable) else found:
            return
        if monotonic() > end:
            raise AssertionError(f"not within {deadline_s} s: {what}")
        await asyncio.sleep(EVERY_S)
