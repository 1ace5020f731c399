"""Rows to COPY text, and chunks to whole fetches."""

from itertools import permutations
from typing import Any

import msgspec
import pytest

from pipeline.contracts import codec
from pipeline.contracts.messages import PageOutcome, Rows
from pipeline.contracts.records import Record
from pipeline.errors import Invalid
from sink.assembly import ReceivedResult, assemble, read_result
from sink.rows import check, copy_text, keys
from support.examples import NOW, a_batch, some_rows


def lines(message: Rows) -> list[list[str]]:
    return [line.split("\t") for _, line in copy_text(message, 7)]


def test_a_row_as_copy_text() -> None:
    (cells,) = lines(some_rows(a_batch(), ["kafka"]))
    assert cells[:2] == ["7", "2026-03-01"]
    assert cells[3:] == ["5", "1.0", "10.0", "0.1", "1.5", "kafka", "https://example.com/kafka", *[r"\N"] * 4]


def test_text_is_escaped_for_copy() -> None:
    (cells,) = lines(some_rows(a_batch(), ["a\tb\nc\\d\re\x00"]))
    assert cells[8] == r"a\tb\nc\\d\re\\x00"


def test_a_missing_position_is_null() -> None:
    assert lines(some_rows(a_batch(), ["x"], position=None))[0][7] == r"\N"
    assert lines(some_rows(a_batch(), ["x"], position=[None]))[0][7] == r"\N"


def test_keys_tell_rows_apart() -> None:
    message = some_rows(a_batch(), ["ab", "a"], keys=(["ab", "a"], ["c", "bc"]))
    assert len(set(keys(message))) == 2
    assert all(len(key) == 16 for key in keys(message))
    assert keys(message) == keys(msgspec.structs.replace(message, clicks=[9.0, 9.0]))


def test_a_report_of_totals_has_one_key() -> None:
    batch = a_batch(dimensions=("date",))
    assert len(keys(some_rows(batch, ["x"], keys=()))) == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"chunk": 1}, "chunk"),
        ({"clicks": []}, "keys"),
        ({"keys": (["a"],)}, "keys"),
        ({"position": [1.0, 2.0]}, "keys"),
        ({"batch": a_batch(dimensions=("date", "colour", "page"))}, "batch.dimensions"),
        ({"ctr": [float("nan")]}, "ctr"),
        ({"clicks": [-1.0]}, "clicks"),
    ],
)
def test_an_impossible_message_names_the_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        check(msgspec.structs.replace(some_rows(a_batch(), ["a"]), **changes))
    assert caught.value.field == field


def received(message: Rows | PageOutcome) -> ReceivedResult:
    return ReceivedResult(Record("gsc.results", 0, 1, None, b"", 0), message)


def a_chunk(number: int, *, fetch: str = "f", of: int = 3, page_rows: int = 3) -> ReceivedResult:
    return received(some_rows(a_batch(), ["x"], chunk=number, chunks=of, fetch_id=fetch, page_rows=page_rows))


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_chunks_make_a_fetch_in_any_order(order: tuple[int, ...]) -> None:
    work = assemble([a_chunk(number) for number in order], {})
    assert [item.message.chunk for item in work.fetches[0]] == [0, 1, 2]  # type: ignore[union-attr]
    assert not work.parked


def test_chunks_of_two_fetches_are_never_counted_together() -> None:
    work = assemble([a_chunk(0, fetch="a"), a_chunk(1, fetch="b"), a_chunk(2, fetch="a")], {})
    assert not work.fetches
    assert len(work.parked) == 3


def test_parked_chunks_count() -> None:
    before = {(a_batch().batch_id, "f"): [a_chunk(0), a_chunk(2)]}
    assert len(assemble([a_chunk(1)], before).fetches) == 1


@pytest.mark.parametrize("last", [a_chunk(2, page_rows=4), a_chunk(2, of=2)])
def test_chunks_that_tell_of_different_pages_are_refused(last: ReceivedResult) -> None:
    with pytest.raises(Invalid, match="do not make up its page"):
        assemble([a_chunk(0), a_chunk(1), last], {})


def test_chunks_that_lack_rows_of_their_page_are_refused() -> None:
    with pytest.raises(Invalid, match="do not make up its page"):
        assemble([a_chunk(0, of=1, page_rows=100)], {})


def test_an_id_that_is_not_that_of_the_page_is_refused() -> None:
    message = some_rows(a_batch(batch_id="0" * 32), ["x"])
    with pytest.raises(Invalid) as caught:
        read_result(Record("gsc.results", 0, 1, None, codec.encode(message), 0))
    assert caught.value.field == "batch.batch_id"


def test_a_chunk_that_comes_twice_counts_once() -> None:
    assert not assemble([a_chunk(0), a_chunk(0), a_chunk(1)], {}).fetches


def test_outcomes_go_their_own_way() -> None:
    outcome = PageOutcome(batch=a_batch(), state="dead", reason="permission", detail="", at=NOW)
    assert assemble([received(outcome)], {}).outcomes == [received(outcome)]
