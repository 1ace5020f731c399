"""Writing results in parts: what is halved, what fails, and how long a part may take."""

import pytest

from pipeline.contracts import codec
from pipeline.contracts.messages import Rows
from pipeline.contracts.records import Record
from pipeline.errors import Invalid, TooSlow
from sink.assembly import ReceivedResult
from sink.write_parts import MAX_EXTRA_S, MAX_FAILURES, SLOWEST_BYTES_PER_S, write_in_parts, write_limit_s
from support.examples import a_batch, some_rows


def a_result(offset: int, *, size: int | None = None, chunks: int = 1) -> ReceivedResult:
    rows: Rows = some_rows(a_batch(start_row=25_000 * offset), ["a"], chunks=chunks)
    value = codec.encode(rows) if size is None else b"x" * size
    return ReceivedResult(Record("gsc.results", 0, offset, b"k", value, 0), rows)


class Database:
    """Accepts parts without a result that is invalid or too slow."""

    def __init__(self, invalid: set[int] = frozenset(), slow: set[int] = frozenset()) -> None:  # type: ignore[assignment]
        self.invalid, self.slow = invalid, slow
        self.attempts = 0
        self.written: list[int] = []
        self.failed: list[tuple[int, str]] = []

    async def write(self, part: list[ReceivedResult]) -> None:
        self.attempts += 1
        offsets = {item.record.offset for item in part}
        if offsets & self.invalid:
            raise Invalid("invalid")
        if offsets & self.slow:
            raise TooSlow("slow")
        self.written += sorted(offsets)

    async def record_failure(self, item: ReceivedResult, error: Invalid | TooSlow) -> None:
        self.failed.append((item.record.offset, str(error)))


async def write_all(database: Database, count: int) -> None:
    await write_in_parts([a_result(offset) for offset in range(count)], database.write, database.record_failure)


async def test_a_batch_that_passes_is_written_at_once() -> None:
    database = Database()
    await write_all(database, 8)
    assert (database.attempts, database.written) == (1, list(range(8)))
    await write_all(database, 0)
    assert database.attempts == 1


@pytest.mark.parametrize("count", [3, 5, 64])
async def test_only_the_results_at_fault_fail(count: int) -> None:
    database = Database(invalid={0}, slow={count - 1})
    await write_all(database, count)
    assert sorted(database.failed) == [(0, "invalid"), (count - 1, "slow")]
    assert sorted(database.written) == list(range(1, count - 1))


async def test_nothing_fails_as_too_slow_while_nothing_can_be_written() -> None:
    for count in (1, 3, 1000):
        database = Database(slow=set(range(count)))
        with pytest.raises(TooSlow):
            await write_all(database, count)
        assert (database.failed, database.written) == ([], [])
        assert database.attempts <= MAX_FAILURES


def test_a_part_may_take_longer_the_more_there_is_to_write() -> None:
    one, two = a_result(0, size=SLOWEST_BYTES_PER_S), a_result(1, size=SLOWEST_BYTES_PER_S)
    assert write_limit_s(20.0, [one]) == 21.0
    assert write_limit_s(20.0, [one, two]) == 22.0
    assert write_limit_s(20.0, [one] * 2) == 21.0
    assert write_limit_s(20.0, [a_result(0, size=SLOWEST_BYTES_PER_S, chunks=5)]) == 25.0
    assert write_limit_s(20.0, [a_result(n, size=10_000_000) for n in range(20)]) == 20.0 + MAX_EXTRA_S


def test_a_full_batch_passes_on_a_disk_a_tenth_as_fast() -> None:
    assert write_limit_s(20.0, [a_result(n, size=1_000_000) for n in range(8)]) == 20.0 + 20.0
