"""Trying again while a fault passes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pipeline.errors import Retryable

T = TypeVar("T")


async def with_retries(attempt: Callable[[], Awaitable[T]], *, attempts: int = 6, first_delay_s: float = 0.1) -> T:
    """Run `attempt` again while it raises Retryable, with doubling delays; the last error goes up.

    By default over some three seconds: a broker that has just elected a leader, or made a topic, needs about one.
    """
    for number in range(attempts - 1):
        try:
            return await attempt()
        except Retryable:
            await asyncio.sleep(first_delay_s * 2**number)
    return await attempt()
