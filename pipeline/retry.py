"""Retries of operations that may fail for a moment."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from pipeline.errors import Retryable

T = TypeVar("T")


async def with_retries(operation: Callable[[], Awaitable[T]], *, attempts: int = 6, first_delay_s: float = 0.1) -> T:
    """Return the result of `operation`, called again while it raises Retryable; the last error is raised.

    The delays double. The default is about three seconds in all: a broker that has just elected a leader or created a
    topic needs about one.
    """
    retrying = AsyncRetrying(
        retry=retry_if_exception_type(Retryable),
        stop=stop_after_attempt(attempts),
        wait=wait_exponential(multiplier=first_delay_s),
        reraise=True,
    )

    async def attempt() -> T:  # tenacity awaits coroutine functions only
        return await operation()

    return await retrying(attempt)
