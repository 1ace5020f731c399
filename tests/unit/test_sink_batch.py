"""Batches of the sink: which results are prepared together."""

import pytest

from pipeline.contracts import codec
from pipeline.contracts.messages import PageOutcome
from pipeline.contracts.records import Record
from pipeline.errors import Invalid
from sink.assembly import ReceivedResult, Texts
from sink.batch import PreparedBatch, prepare
from support.examples import NOW, a_batch, some_rows


def record(value: bytes) -> Record:
    return Record("gsc.results", 0, 0, b"k", value, 0)


def chunk(fetch: str, number: int, chunks: int) -> Record:
    return record(
        codec.encode(some_rows(a_batch(), ["a"], fetch_id=fetch, chunk=number, chunks=chunks, page_rows=chunks))
    )


def no_text(_: object) -> Texts:
    return {}


A1, A2, B1, B2, WHOLE = chunk("a", 0, 2), chunk("a", 1, 2), chunk("b", 0, 2), chunk("b", 1, 2), chunk("c", 0, 1)
BROKEN = record(b"{}")
OUTCOME = record(codec.encode(PageOutcome(batch=a_batch(), state="dead", reason="x", detail="", at=NOW)))


@pytest.mark.parametrize(
    ("records", "count"),
    [
        ([A1, A2], 2),
        ([A1, A2, B1], 2),
        ([WHOLE, A1], 1),
        ([A1], 0),
        ([A1, B1, A2], 3),
        ([A1, WHOLE], 2),
        ([A1, WHOLE, B2, B1, A2], 5),
        ([BROKEN, A1], 1),
        ([OUTCOME, B1], 1),
        ([], 0),
    ],
)
def test_chunks_at_the_end_wait_for_the_rest_of_their_page(records: list[Record], count: int) -> None:
    assert prepare(records, no_text, hold=True).records == records[:count]
    assert prepare(records, no_text, hold=False).records == records


def test_what_cannot_be_decoded_is_not_formatted() -> None:
    formatted: list[int] = []

    def note(received: object) -> Texts:
        assert isinstance(received, list)
        formatted.append(len(received))
        return {}

    batch = prepare([BROKEN, WHOLE], note, hold=True)
    assert [type(item) for item in batch.decoded] == [Invalid, ReceivedResult]
    assert formatted == [1]


def test_a_batch_keeps_the_records_that_are_the_same_objects() -> None:
    batch = prepare([A1, A2, WHOLE], no_text, hold=True)
    again = Record(*A2)
    assert batch.only([A1, again, WHOLE]).records == [A1, WHOLE]
    assert batch.only([]) == PreparedBatch([], [], {})
