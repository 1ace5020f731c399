"""The reports that Search Console supports. The API answers 400 to any other, so the catalog is checked against this.

Source: Google's reference of `searchanalytics.query` and its page on limits.
"""

from collections.abc import Iterable
from typing import get_args

from pipeline.contracts.messages import DataState, SearchType

DIMENSIONS = ("date", "hour", "query", "page", "country", "device", "searchAppearance")
SEARCH_TYPES: tuple[SearchType, ...] = get_args(SearchType)
DATA_STATES: tuple[DataState, ...] = get_args(DataState)

FINAL_AFTER_DAYS = 3
"""Google publishes the final data of a day two to three days later. Until then a final report of the day is empty."""

_FORBIDDEN_GROUPING: dict[SearchType, frozenset[str]] = {
    "discover": frozenset({"query", "device"}),
    "googleNews": frozenset({"query"}),
}
TYPES_WITHOUT_POSITION: frozenset[SearchType] = frozenset({"discover", "googleNews"})


def illegal_combination(
    dimensions: tuple[str, ...], search_types: Iterable[SearchType], data_state: DataState
) -> str | None:
    """Return why the API refuses this report, or None if it supports it."""
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


def value_dimensions(dimensions: tuple[str, ...]) -> tuple[str, ...]:
    """Return the dimensions that each row has a value of: all but `date`, which all rows of a day share."""
    return tuple(name for name in dimensions if name != "date")
