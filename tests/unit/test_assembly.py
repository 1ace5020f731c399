"""Joining the chunks of fetches, in any order and over several batches."""

from itertools import permutations

import pytest

from pipeline.contracts import codec
from pipeline.contracts.messages import PageOutcome, Result, Unchanged
from pipeline.contracts.records import Record
from pipeline.errors import Invalid
from sink.assembly import ReceivedResult, assemble, read_result
from support.examples import NOW, a_batch, some_rows


def received(message: Result) -> ReceivedResult:
    return ReceivedResult(Record("gsc.results", 0, 1, None, b"", 0), message)


def a_chunk(number: int, *, fetch: str = "f", of: int = 3, page_rows: int = 3) -> ReceivedResult:
    return received(some_rows(a_batch(), ["x"], chunk=number, chunks=of, fetch_id=fetch, page_rows=page_rows))


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_chunks_may_arrive_in_any_order(order: tuple[int, ...]) -> None:
    work = assemble([a_chunk(number) for number in order], {})
    assert [item.message.chunk for item in work.fetches[0]] == [0, 1, 2]  # type: ignore[union-attr]
    assert not work.parked


def test_chunks_of_two_fetches_are_never_joined() -> None:
    work = assemble([a_chunk(0, fetch="a"), a_chunk(1, fetch="b"), a_chunk(2, fetch="a")], {})
    assert not work.fetches
    assert len(work.parked) == 3


def test_a_parked_chunk_that_is_read_again_counts_once() -> None:
    parked = {(a_batch().batch_id, "f"): [a_chunk(0), a_chunk(1)]}
    work = assemble([a_chunk(1)], parked)
    assert not work.fetches
    assert len(work.parked) == 2


def test_the_first_of_two_complete_fetches_of_a_page_is_applied() -> None:
    first, second = (a_chunk(0, fetch=fetch, of=1, page_rows=1) for fetch in ("a", "b"))
    assert assemble([first, second], {}).fetches == [[first]]


def test_chunks_of_another_fetch_of_a_complete_page_are_dropped() -> None:
    complete, other = a_chunk(0, fetch="a", of=1, page_rows=1), a_chunk(0, fetch="b")
    work = assemble([other, complete], {})
    assert work.fetches == [[complete]]
    assert not work.parked


def test_pages_are_assembled_separately() -> None:
    pages = [received(some_rows(a_batch(start_row=start), ["x"])) for start in (0, 25_000)]
    assert assemble(pages, {}).fetches == [[page] for page in pages]


def test_new_chunks_are_joined_with_parked_ones() -> None:
    parked = {(a_batch().batch_id, "f"): [a_chunk(0), a_chunk(2)]}
    assert len(assemble([a_chunk(1)], parked).fetches) == 1


@pytest.mark.parametrize("last", [a_chunk(2, page_rows=4), a_chunk(2, of=2)])
def test_chunks_that_describe_different_pages_are_refused(last: ReceivedResult) -> None:
    with pytest.raises(Invalid, match="do not make up its page"):
        assemble([a_chunk(0), a_chunk(1), last], {})


def test_chunks_that_lack_rows_of_their_page_are_refused() -> None:
    with pytest.raises(Invalid, match="do not make up its page"):
        assemble([a_chunk(0, of=1, page_rows=100)], {})


def test_a_batch_id_that_does_not_match_the_page_is_refused() -> None:
    message = some_rows(a_batch(batch_id="0" * 32), ["x"])
    with pytest.raises(Invalid) as caught:
        read_result(Record("gsc.results", 0, 1, None, codec.encode(message), 0))
    assert caught.value.field == "batch.batch_id"


def test_a_repeated_chunk_counts_once() -> None:
    assert not assemble([a_chunk(0), a_chunk(0), a_chunk(1)], {}).fetches


def test_outcomes_are_kept_apart_from_rows() -> None:
    outcome = PageOutcome(batch=a_batch(), state="dead", reason="permission", detail="", at=NOW)
    assert assemble([received(outcome)], {}).outcomes == [received(outcome)]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, "the message has no value"),
        (b"[]", "not a JSON object"),
        (codec.encode(some_rows(a_batch(), ["x"], chunk=1)), "chunk: chunk 1 of 1"),
    ],
)
def test_a_result_that_cannot_be_read_is_invalid(value: bytes | None, error: str) -> None:
    with pytest.raises(Invalid, match=error):
        read_result(Record("gsc.results", 0, 1, None, value, 0))


@pytest.mark.parametrize(
    "message",
    [
        some_rows(a_batch(), ["x"]),
        PageOutcome(batch=a_batch(), state="deferred", reason="halted", detail="", at=NOW),
        Unchanged(
            batch=a_batch(),
            fetch_id="u",
            fetched_at=NOW,
            base_generation=4,
            digest="a" * 32,
            page_rows=1,
            next_start_row=None,
        ),
    ],
)
def test_a_result_is_read_with_its_record(message: Result) -> None:
    record = Record("gsc.results", 0, 1, None, codec.encode(message), 0)
    assert read_result(record) == ReceivedResult(record, message)


def an_unchanged_page(generation: int = 5) -> Unchanged:
    return Unchanged(
        batch=a_batch(generation=generation), fetch_id="u", fetched_at=NOW, base_generation=4, digest="a" * 32,
        page_rows=1, next_start_row=None,
    )  # fmt: skip


def test_a_page_is_unchanged_once_and_only_without_a_complete_fetch() -> None:
    unchanged = received(an_unchanged_page())
    work = assemble([unchanged, received(an_unchanged_page()), a_chunk(0)], {})
    assert work.unchanged == [unchanged]
    complete = a_chunk(0, of=1, page_rows=1)
    work = assemble([unchanged, complete], {})
    assert (work.fetches, work.unchanged) == ([[complete]], [])


def test_the_base_of_an_unchanged_page_is_older_than_the_page() -> None:
    record = Record("gsc.results", 0, 1, None, codec.encode(an_unchanged_page(generation=4)), 0)
    with pytest.raises(Invalid, match="base_generation"):
        read_result(record)
