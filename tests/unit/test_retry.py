"""Retries with backoff, without waiting."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pipeline.errors import Invalid, PipelineError, Retryable
from pipeline.retry import with_retries


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of each call of `asyncio.sleep`, which returns at once."""
    seconds: list[float] = []

    async def record(delay: float) -> None:
        seconds.append(delay)

    monkeypatch.setattr(asyncio, "sleep", record)
    return seconds


def failing(*errors: PipelineError) -> Callable[[], Awaitable[str]]:
    """An operation that raises each of the errors once, then succeeds."""
    left = list(errors)

    async def operation() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return operation


async def test_an_operation_is_repeated_with_doubling_delays(delays: list[float]) -> None:
    errors = [Retryable(str(number)) for number in range(5)]
    assert await with_retries(failing(*errors)) == "done"
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6]


async def test_the_delay_does_not_grow_beyond_the_longest(delays: list[float]) -> None:
    errors = [Retryable(str(number)) for number in range(5)]
    assert await with_retries(failing(*errors), attempts=6, longest_delay_s=0.5) == "done"
    assert delays == [0.1, 0.2, 0.4, 0.5, 0.5]


async def test_the_error_of_the_last_attempt_is_raised(delays: list[float]) -> None:
    with pytest.raises(Retryable, match="second"):
        await with_retries(failing(Retryable("first"), Retryable("second")), attempts=2, first_delay_s=3.0)
    assert delays == [3.0]


async def test_other_errors_are_raised_immediately(delays: list[float]) -> None:
    with pytest.raises(Invalid):
        await with_retries(failing(Invalid("x")))
    assert delays == []
