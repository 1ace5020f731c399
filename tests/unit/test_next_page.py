"""The paging rule."""

import pytest

from fetcher.next_page import PagingRule, next_batch, next_start_row
from support.examples import a_batch


@pytest.mark.parametrize(
    ("rule", "rows", "following"),
    [("full-page", 25_000, 25_000), ("full-page", 24_999, None), ("empty-page", 1, 25_000), ("empty-page", 0, None)],
)
def test_the_rule_decides_whether_another_page_follows(rule: PagingRule, rows: int, following: int | None) -> None:
    assert next_start_row(a_batch(), rows, rule) == following


def test_the_start_row_advances_by_the_row_limit_from_any_page() -> None:
    assert next_start_row(a_batch(start_row=25_000, row_limit=10_000), 10_000, "full-page") == 35_000


def test_the_next_batch_is_of_the_same_day_and_generation_with_its_own_id() -> None:
    batch = a_batch()
    following = next_batch(batch, 25_000)
    assert following == a_batch(start_row=25_000)
    assert following.batch_id != batch.batch_id
