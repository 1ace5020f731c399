"""Rows as text for COPY: columns, escapes, keys, and the check of a message."""

from typing import Any

import msgspec
import pytest

from pipeline.contracts.messages import Rows
from pipeline.errors import Invalid
from sink.rows import check, keys, page_text
from support.examples import a_batch, some_rows


def cells_of(message: Rows) -> list[list[str]]:
    return [line.split("\t") for line in page_text([message], 7).text.decode().split("\n")[:-1]]


def test_a_row_becomes_a_line_of_copy_text() -> None:
    (cells,) = cells_of(some_rows(a_batch(), ["kafka"]))
    assert cells[:2] == ["7", "2026-03-01"]
    assert cells[2] == keys(some_rows(a_batch(), ["kafka"]))[0]
    assert cells[3:] == ["5", "1.0", "10.0", "0.1", "1.5", "0", "kafka", "https://example.com/kafka", *[r"\N"] * 4]


def test_a_row_has_the_number_of_its_page() -> None:
    (cells,) = cells_of(some_rows(a_batch(start_row=50_000), ["kafka"]))
    assert cells[8] == "2"


def test_text_is_escaped_for_copy() -> None:
    (cells,) = cells_of(some_rows(a_batch(), ["a\tb\nc\\d\re\x00"]))
    assert cells[9] == r"a\tb\nc\\d\re\\x00"


def test_a_missing_position_is_null() -> None:
    assert cells_of(some_rows(a_batch(), ["x"], position=None))[0][7] == r"\N"
    assert cells_of(some_rows(a_batch(), ["x"], position=[None]))[0][7] == r"\N"


def test_every_dimension_has_its_column() -> None:
    batch = a_batch(dimensions=("hour", "device", "date", "country", "searchAppearance"))
    message = some_rows(batch, ["x"], keys=(["7"], ["MOBILE"], ["fra"], ["AMP"]))
    assert cells_of(message)[0][9:] == [r"\N", r"\N", "fra", "MOBILE", "AMP", "7"]


def test_lone_surrogates_are_hashed_as_they_are() -> None:
    assert len(set(keys(some_rows(a_batch(), ["\ud800", "\ud801"])))) == 2


def test_the_key_depends_on_each_value_and_not_on_the_numbers() -> None:
    message = some_rows(a_batch(), ["ab", "a"], keys=(["ab", "a"], ["c", "bc"]))
    assert len(set(keys(message))) == 2
    assert all(len(bytes.fromhex(key)) == 16 for key in keys(message))
    assert keys(message) == keys(msgspec.structs.replace(message, clicks=[9.0, 9.0]))


def test_a_report_without_dimensions_but_the_date_has_one_key() -> None:
    batch = a_batch(dimensions=("date",))
    assert len(keys(some_rows(batch, ["x"], keys=()))) == 1


def test_the_lines_of_a_day_are_sorted_by_key_and_the_first_of_two_equal_rows_counts() -> None:
    chunks = [some_rows(a_batch(), ["a", "b", "c", "d"]), some_rows(a_batch(start_row=25_000), ["d", "e"])]
    lines = [line.split("\t") for line in page_text(chunks, 7).text.decode().splitlines()]
    assert [line[2] for line in lines] == sorted(set(keys(chunks[0]) + keys(chunks[1])))
    assert {line[9]: line[4] for line in lines} == {"a": "1.0", "b": "2.0", "c": "3.0", "d": "4.0", "e": "2.0"}


def test_a_day_without_rows_has_no_text() -> None:
    assert page_text([some_rows(a_batch(), [])], 7).text == b""


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"chunk": 1}, "chunk"),
        ({"clicks": []}, "keys"),
        ({"keys": (["a"],)}, "keys"),
        ({"position": [1.0, 2.0]}, "keys"),
        ({"batch": a_batch(dimensions=("date", "colour", "page"))}, "batch.dimensions"),
        ({"ctr": [float("nan")]}, "ctr"),
        ({"impressions": [float("inf")]}, "impressions"),
        ({"clicks": [-1.0]}, "clicks"),
    ],
)
def test_check_names_the_wrong_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        check(msgspec.structs.replace(some_rows(a_batch(), ["a"]), **changes))
    assert caught.value.field == field
