"""Retries."""

import pytest

from pipeline.errors import Invalid, PipelineError, Retryable
from pipeline.retry import with_retries


class Operation:
    """Fails with the errors in turn, then succeeds."""

    def __init__(self, *errors: PipelineError) -> None:
        self._errors = list(errors)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return "done"


async def test_a_retryable_error_is_retried() -> None:
    operation = Operation(Retryable("1"), Retryable("2"))
    assert await with_retries(operation, first_delay_s=0) == "done"
    assert operation.calls == 3


async def test_the_last_error_is_raised_after_all_attempts() -> None:
    operation = Operation(*(Retryable(str(number)) for number in range(1, 9)))
    with pytest.raises(Retryable, match="4"):
        await with_retries(operation, attempts=4, first_delay_s=0)
    assert operation.calls == 4


async def test_another_error_is_raised_immediately() -> None:
    operation = Operation(Invalid("wrong"))
    with pytest.raises(Invalid):
        await with_retries(operation, first_delay_s=0)
    assert operation.calls == 1
