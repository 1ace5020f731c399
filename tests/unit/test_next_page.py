"""What follows from a page: the paging rule, and days that may still change."""

from datetime import date, timedelta
from typing import Any

import pytest

from fetcher.chunks import FetchedPage
from fetcher.next_page import PagingRule, first_incomplete_date, next_batch, next_start_row
from pipeline.contracts.messages import Selection
from support.examples import DAY, a_batch

YESTERDAY = DAY - timedelta(days=1)


@pytest.mark.parametrize(
    ("rule", "rows", "following"),
    [("full-page", 25_000, 25_000), ("full-page", 24_999, None), ("empty-page", 1, 25_000), ("empty-page", 0, None)],
)
def test_the_rule_decides_whether_another_page_follows(rule: PagingRule, rows: int, following: int | None) -> None:
    assert next_start_row(a_batch(), rows, rule) == following


def test_the_start_row_advances_by_the_row_limit_from_any_page() -> None:
    assert next_start_row(a_batch(start_row=25_000, row_limit=10_000), 10_000, "full-page") == 35_000


def test_a_report_with_a_row_limit_has_one_page_of_a_day() -> None:
    batch = a_batch(row_limit=10, selection=Selection(row_limit=10))
    rules: list[PagingRule] = ["full-page", "empty-page"]
    assert [next_start_row(batch, 10, rule) for rule in rules] == [None, None]


def test_the_next_batch_is_of_the_same_day_and_generation_with_its_own_id() -> None:
    batch = a_batch()
    following = next_batch(batch, 25_000)
    assert following == a_batch(start_row=25_000)
    assert following.batch_id != batch.batch_id


@pytest.mark.parametrize(
    ("batch", "rows", "named", "age", "incomplete"),
    [
        ({}, 0, None, 2, DAY),
        ({}, 0, None, 3, None),
        ({}, 1, None, 2, None),
        ({"start_row": 25_000}, 0, None, 2, None),  # the end of a day that has rows
        ({"data_state": "all"}, 1, YESTERDAY, 1, YESTERDAY),
        ({"data_state": "all"}, 1, None, 1, None),
        ({"data_state": "all"}, 0, None, 0, DAY),
        ({"data_state": "all", "dimensions": ("page",)}, 1, None, 2, DAY),
        ({"data_state": "all", "dimensions": ("page",)}, 1, None, 3, None),
    ],
)
def test_a_recent_day_may_change_when_it_is_empty_or_google_cannot_say(
    batch: dict[str, Any], rows: int, named: date | None, age: int, incomplete: date | None
) -> None:
    page = FetchedPage(([""] * rows,), [1.0] * rows, [1.0] * rows, [1.0] * rows, None, named)
    assert first_incomplete_date(a_batch(**batch), page, DAY + timedelta(days=age)) == incomplete
