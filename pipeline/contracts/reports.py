"""The reports that Search Console supports. The API answers 400 to any other, so the catalog is checked against this.

Source: Google's reference of `searchanalytics.query` and its page on limits.
"""

from collections.abc import Iterable
from typing import get_args

from pipeline.contracts.messages import ALL_ROWS, DataState, Filter, SearchType, Selection

DIMENSIONS = ("date", "hour", "query", "page", "country", "device", "searchAppearance")
SEARCH_TYPES: tuple[SearchType, ...] = get_args(SearchType)
DATA_STATES: tuple[DataState, ...] = get_args(DataState)

FINAL_AFTER_DAYS = 3
"""Google publishes the final data of a day two to three days later. Until then a final report of the day is empty."""

_FORBIDDEN_GROUPING: dict[SearchType, frozenset[str]] = {
    "discover": frozenset({"query", "device"}),
    "googleNews": frozenset({"query"}),
}
NEWS_SHOWCASE = Filter(dimension="searchAppearance", expression="NEWS_SHOWCASE")
TYPES_WITHOUT_POSITION: frozenset[SearchType] = frozenset({"discover", "googleNews"})


def illegal_combination(
    dimensions: tuple[str, ...],
    search_types: Iterable[SearchType],
    data_state: DataState,
    selection: Selection = ALL_ROWS,
) -> str | None:
    """Return why the API refuses this report, or None if it supports it."""
    problems = (_illegal_selection(dimensions, search_type, selection) for search_type in search_types)
    return _illegal_grouping(dimensions, search_types, data_state) or next(filter(None, problems), None)


def _illegal_grouping(
    dimensions: tuple[str, ...], search_types: Iterable[SearchType], data_state: DataState
) -> str | None:
    if len(set(dimensions)) != len(dimensions):
        return f"dimensions {list(dimensions)} are not unique"
    if "searchAppearance" in dimensions and len(dimensions) > 1:
        return "searchAppearance cannot be grouped with other dimensions"
    if ("hour" in dimensions) != (data_state == "hourly_all"):
        return f"the dimension hour and data_state hourly_all require each other, got data_state {data_state}"
    for search_type in search_types:
        forbidden = _FORBIDDEN_GROUPING.get(search_type, frozenset()).intersection(dimensions)
        if forbidden:
            return f"search type {search_type} cannot be grouped by {', '.join(sorted(forbidden))}"
    return None


def _illegal_selection(dimensions: tuple[str, ...], search_type: SearchType, selection: Selection) -> str | None:
    """Return why the API refuses the filters or the aggregation, or None."""
    filtered = {item.dimension for item in selection.filters}
    if forbidden := _FORBIDDEN_GROUPING.get(search_type, frozenset()) & filtered:
        return f"search type {search_type} cannot be filtered by {', '.join(sorted(forbidden))}"
    uses_pages = "page" in filtered.union(dimensions)
    if selection.aggregation_type == "byProperty":
        if uses_pages:
            return "aggregation_type byProperty cannot be combined with the dimension page or a filter by page"
        if search_type in TYPES_WITHOUT_POSITION:
            return f"search type {search_type} cannot be aggregated by property"
    if selection.aggregation_type == "byNewsShowcasePanel" and (
        uses_pages or search_type not in TYPES_WITHOUT_POSITION or NEWS_SHOWCASE not in selection.filters
    ):
        return (
            "aggregation_type byNewsShowcasePanel requires the search type discover or googleNews, the filter"
            " searchAppearance equals NEWS_SHOWCASE, and no page"
        )
    return None


def value_dimensions(dimensions: tuple[str, ...]) -> tuple[str, ...]:
    """Return the dimensions that each row has a value of: all but `date`, which all rows of a day share."""
    return tuple(name for name in dimensions if name != "date")
