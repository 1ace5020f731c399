"""The combinations of dimensions, search types and data states that Search Console supports."""

from datetime import date
from typing import get_args

import msgspec
import pytest

from lab.search_console.refusals import Refused
from lab.search_console.requests import parse_query
from pipeline.contracts.messages import AggregationType, DataState, Filter, FilterDimension, SearchType, Selection
from pipeline.contracts.reports import SEARCH_TYPES, illegal_combination, value_dimensions


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


SHOWCASE = Filter(dimension="searchAppearance", expression="NEWS_SHOWCASE")


def filtered(*filters: Filter, aggregation_type: AggregationType = "auto") -> Selection:
    return Selection(filters=filters, aggregation_type=aggregation_type)


@pytest.mark.parametrize(
    ("dimensions", "search_type", "selection", "problem"),
    [
        (("date", "page"), "web", filtered(Filter(dimension="query", expression="x")), None),
        (("date", "query"), "web", filtered(SHOWCASE), None),
        (("date", "page"), "discover", filtered(Filter(dimension="query", expression="x")), "cannot be filtered by qu"),
        (("date", "page"), "discover", filtered(Filter(dimension="device", expression="x")), "cannot be filtered by d"),
        (("date", "page"), "googleNews", filtered(Filter(dimension="device", expression="x")), None),
        (("date", "query"), "web", filtered(aggregation_type="byPage"), None),
        (("date", "query"), "web", filtered(aggregation_type="byProperty"), None),
        (
            ("date", "page"),
            "web",
            filtered(aggregation_type="byProperty"),
            "cannot be combined with the dimension page",
        ),
        (
            ("date",),
            "web",
            filtered(Filter(dimension="page", expression="x"), aggregation_type="byProperty"),
            "or a filter by page",
        ),
        (("date",), "discover", filtered(aggregation_type="byProperty"), "discover cannot be aggregated by property"),
        (("date",), "discover", filtered(SHOWCASE, aggregation_type="byNewsShowcasePanel"), None),
        (("date",), "discover", filtered(aggregation_type="byNewsShowcasePanel"), "requires the search type discover"),
        (("date",), "web", filtered(SHOWCASE, aggregation_type="byNewsShowcasePanel"), "requires the search type disc"),
        (("date", "page"), "discover", filtered(SHOWCASE, aggregation_type="byNewsShowcasePanel"), "and no page"),
    ],
)
def test_a_selection_that_the_api_refuses_has_a_problem(
    dimensions: tuple[str, ...], search_type: SearchType, selection: Selection, problem: str | None
) -> None:
    found = illegal_combination(dimensions, [search_type], "final", selection)
    assert found is None if problem is None else problem in str(found)


@pytest.mark.parametrize("aggregation_type", get_args(AggregationType))
@pytest.mark.parametrize("dimension", get_args(FilterDimension))
@pytest.mark.parametrize("search_type", SEARCH_TYPES)
def test_the_simulator_refuses_the_same_selections(
    search_type: SearchType, dimension: FilterDimension, aggregation_type: AggregationType
) -> None:
    for grouping in ((), ("page",), ("query", "country"), ("device",)):
        condition = SHOWCASE if dimension == "searchAppearance" else Filter(dimension=dimension, expression="x")
        selection = filtered(condition, aggregation_type=aggregation_type)
        problem = illegal_combination(("date", *grouping), [search_type], "final", selection)
        assert (problem is not None) == is_refused(("date", *grouping), search_type, selection), problem


def is_refused(dimensions: tuple[str, ...], search_type: SearchType, selection: Selection) -> bool:
    body = {
        "startDate": "2026-03-01",
        "endDate": "2026-03-01",
        "dimensions": dimensions,
        "type": search_type,
        "aggregationType": selection.aggregation_type,
        "dimensionFilterGroups": [{"filters": selection.filters}],
    }
    try:
        parse_query(msgspec.json.encode(body), date(2026, 3, 10))
    except Refused:
        return True
    return False


def test_rows_have_a_value_of_every_dimension_but_the_date() -> None:
    assert value_dimensions(("query", "date", "page")) == ("query", "page")
