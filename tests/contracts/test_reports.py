"""The combinations of dimensions, search types and data states that Search Console supports."""

import pytest

from pipeline.contracts.messages import DataState, SearchType
from pipeline.contracts.reports import illegal_combination, value_dimensions


@pytest.mark.parametrize(
    ("dimensions", "search_types", "data_state", "problem"),
    [
        (("date", "query", "page", "country", "device"), ("web", "image"), "final", None),
        (("searchAppearance",), ("web",), "final", None),
        (("date", "hour"), ("web",), "hourly_all", None),
        (("date", "page"), ("discover", "googleNews"), "all", None),
        (("date", "device"), ("googleNews",), "final", None),
        (("date", "date"), ("web",), "final", "dimensions ['date', 'date'] are not unique"),
        (
            ("date", "searchAppearance"),
            ("web",),
            "final",
            "searchAppearance cannot be grouped with other dimensions",
        ),
        (
            ("date", "hour"),
            ("web",),
            "final",
            "the dimension hour and data_state hourly_all require each other, got data_state final",
        ),
        (
            ("date",),
            ("web",),
            "hourly_all",
            "the dimension hour and data_state hourly_all require each other, got data_state hourly_all",
        ),
        (
            ("query", "device"),
            ("web", "discover"),
            "final",
            "search type discover cannot be grouped by device, query",
        ),
        (("query",), ("googleNews",), "final", "search type googleNews cannot be grouped by query"),
    ],
)
def test_a_combination_that_the_api_refuses_has_a_problem(
    dimensions: tuple[str, ...], search_types: tuple[SearchType, ...], data_state: DataState, problem: str | None
) -> None:
    assert illegal_combination(dimensions, search_types, data_state) == problem


def test_rows_have_a_value_of_every_dimension_but_the_date() -> None:
    assert value_dimensions(("query", "date", "page")) == ("query", "page")
