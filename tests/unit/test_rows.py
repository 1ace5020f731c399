"""Rows as text for COPY: columns, escapes, keys, and the check of a message."""

from typing import Any
from uuid import UUID

import msgspec
import pytest

from pipeline.contracts.messages import Rows
from pipeline.errors import Invalid
from sink.rows import check, copy_text, keys
from support.examples import a_batch, some_rows


def cells_of(message: Rows) -> list[list[str]]:
    return [line.split("\t") for _, line in copy_text(message, 7)]


def test_a_row_becomes_a_line_of_copy_text() -> None:
    (cells,) = cells_of(some_rows(a_batch(), ["kafka"]))
    assert cells[:2] == ["7", "2026-03-01"]
    assert UUID(cells[2]).bytes == keys(some_rows(a_batch(), ["kafka"]))[0]
    assert cells[3:] == ["5", "1.0", "10.0", "0.1", "1.5", "kafka", "https://example.com/kafka", *[r"\N"] * 4]


def test_text_is_escaped_for_copy() -> None:
    (cells,) = cells_of(some_rows(a_batch(), ["a\tb\nc\\d\re\x00"]))
    assert cells[8] == r"a\tb\nc\\d\re\\x00"


def test_a_missing_position_is_null() -> None:
    assert cells_of(some_rows(a_batch(), ["x"], position=None))[0][7] == r"\N"
    assert cells_of(some_rows(a_batch(), ["x"], position=[None]))[0][7] == r"\N"


def test_every_dimension_has_its_column() -> None:
    batch = a_batch(dimensions=("hour", "device", "date", "country", "searchAppearance"))
    message = some_rows(batch, ["x"], keys=(["7"], ["MOBILE"], ["fra"], ["AMP"]))
    assert cells_of(message)[0][8:] == [r"\N", r"\N", "fra", "MOBILE", "AMP", "7"]


def test_lone_surrogates_are_hashed_as_they_are() -> None:
    assert len(set(keys(some_rows(a_batch(), ["\ud800", "\ud801"])))) == 2


def test_the_key_depends_on_each_value_and_not_on_the_numbers() -> None:
    message = some_rows(a_batch(), ["ab", "a"], keys=(["ab", "a"], ["c", "bc"]))
    assert len(set(keys(message))) == 2
    assert all(len(key) == 16 for key in keys(message))
    assert keys(message) == keys(msgspec.structs.replace(message, clicks=[9.0, 9.0]))


def test_a_report_without_dimensions_but_the_date_has_one_key() -> None:
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
        ({"impressions": [float("inf")]}, "impressions"),
        ({"clicks": [-1.0]}, "clicks"),
    ],
)
def test_check_names_the_wrong_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        check(msgspec.structs.replace(some_rows(a_batch(), ["a"]), **changes))
    assert caught.value.field == field
