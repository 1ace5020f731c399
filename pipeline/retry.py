"""Retries with exponential backoff."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from pipeline.errors import Retryable

T = TypeVar("T")


async def with_retries(
    attempt: Callable[[], Awaitable[T]], *, attempts: int = 6, first_delay_s: float = 0.1, longest_delay_s: float = 60.0
) -> T:
    """Call `attempt` until it does not raise Retryable, at most `attempts` times, and return its result.

    The delay doubles each time, up to `longest_delay_s`. The defaults wait about three seconds in all; a broker that
    has just elected a leader or created a topic needs about one. Raises the error of the last attempt.
    """
    retrying = AsyncRetrying(
        retry=retry_if_exception_type(Retryable),
        stop=stop_after_attempt(attempts),
        wait=wait_exponential(multiplier=first_delay_s, max=longest_delay_s),
        reraise=True,
    )

    async def call() -> T:  # tenacity awaits only what a coroutine function returns, and `attempt` may be a lambda
        return await attempt()

    return await retrying(call)
