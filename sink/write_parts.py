"""Writes results in parts: what PostgreSQL refuses, or takes too long for, is halved until a result is alone."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable

from pipeline.contracts.messages import Rows
from pipeline.errors import Invalid, TooSlow
from sink.assembly import ReceivedResult

SLOWEST_BYTES_PER_S = 400_000
"""The slowest disk that a full batch must pass on: a tenth of what two cores write while they do everything else."""
MAX_EXTRA_S = 30.0
"""So that a server that falls silent during a transaction is noticed within a minute."""
MAX_FAILURES = 16
"""After so many parts that were too slow, with none written before, the server is at fault, not some result."""

WritePart = Callable[[list[ReceivedResult]], Awaitable[None]]
OnFailure = Callable[[ReceivedResult, Invalid | TooSlow], Awaitable[None]]


def write_limit_s(usual_s: float, received: Iterable[ReceivedResult]) -> float:
    """Return how long a statement that writes these results may take. Pure.

    A chunk may complete its page, so it counts with all chunks of that.
    """
    pages = {item.message.batch.batch_id: _page_bytes(item) for item in received}
    return usual_s + min(MAX_EXTRA_S, sum(pages.values()) / SLOWEST_BYTES_PER_S)


def _page_bytes(item: ReceivedResult) -> int:
    chunks = item.message.chunks if isinstance(item.message, Rows) else 1
    return len(item.record.value or b"") * chunks


async def write_in_parts(received: list[ReceivedResult], write: WritePart, on_failure: OnFailure) -> None:
    """Write all results; pass each that cannot be written to `on_failure`.

    Raises TooSlow when no part could be written in time: then no single result is at fault.
    """
    parts = deque([received] if received else [])
    slow: list[tuple[ReceivedResult, TooSlow]] = []
    failures, written = 0, False
    while parts:
        part = parts.popleft()
        try:
            await write(part)
            written = True
        except Invalid as error:
            if not _halve(part, parts):
                await on_failure(part[0], error)
        except TooSlow as error:
            failures += 1
            if not written and failures == MAX_FAILURES:
                raise
            if not _halve(part, parts):
                slow.append((part[0], error))
    await _report_slow(slow, on_failure, written=written)


def _halve(part: list[ReceivedResult], parts: deque[list[ReceivedResult]]) -> bool:
    """Add the halves of a part, to be written after the others. Return False when it is a single result."""
    middle = len(part) // 2
    if middle:
        parts += (part[:middle], part[middle:])
    return bool(middle)


async def _report_slow(slow: list[tuple[ReceivedResult, TooSlow]], on_failure: OnFailure, *, written: bool) -> None:
    for item, error in slow:
        if not written:
            raise error
        await on_failure(item, error)
