"""Identifiers: they depend on what they identify and on nothing else."""

from datetime import date

import msgspec
import pytest

from pipeline.contracts.identity import base_digest, batch_id, page_of, rolling_request_id, run_id
from pipeline.contracts.messages import Base
from support.examples import DAY, a_batch

PAGE = page_of(a_batch())


def test_ids_never_change() -> None:
    """Another release must derive the same ids: the ledger and Kafka keep them."""
    assert batch_id(PAGE) == "9e2fc952e359005d69b4628691071010"
    assert run_id("request-1") == "bdb85e5213457d6ee866a178bcc720aa"
    assert rolling_request_id(DAY, 10, ["a", "b"]) == "rolling-2026-03-01-10-2b20c6e1c60f"


def test_a_batch_id_is_that_of_the_page_of_the_batch() -> None:
    assert batch_id(page_of(a_batch())) == a_batch().batch_id


@pytest.mark.parametrize(
    "change",
    [
        {"property": "sc-domain:example.de"},
        {"report": "by_date"},
        {"search_type": "image"},
        {"date": date(2026, 3, 2)},
        {"start_row": 25_000},
        {"generation": 6},
        {"property": "sc-domain:example.compage", "report": "_query"},
    ],
)
def test_a_batch_id_differs_with_each_part_of_the_page(change: dict[str, object]) -> None:
    assert batch_id(PAGE._replace(**change)) != batch_id(PAGE)  # type: ignore[arg-type]


def test_a_batch_id_does_not_depend_on_the_run() -> None:
    assert page_of(msgspec.structs.replace(a_batch(), run_id="run-2", credential="other")) == PAGE


@pytest.mark.parametrize(("start_row", "digest"), [(0, "a" * 32), (25_000, "b" * 32), (50_000, None)])
def test_a_page_has_the_digest_of_its_number_in_the_base(start_row: int, digest: str | None) -> None:
    base = Base(generation=4, digests=("a" * 32, "b" * 32))
    assert base_digest(a_batch(start_row=start_row, base=base)) == digest
    assert base_digest(a_batch(start_row=start_row)) is None


def test_the_order_of_names_does_not_change_a_rolling_request() -> None:
    assert rolling_request_id(DAY, 10, ["a", "b"]) == rolling_request_id(DAY, 10, ["b", "a"])
    others = [(DAY, 10, ["ab"]), (DAY, 11, ["a", "b"]), (date(2026, 3, 2), 10, ["a", "b"])]
    assert rolling_request_id(DAY, 10, ["a", "b"]) not in {rolling_request_id(*other) for other in others}
