"""Dimension filters of a query: which base rows are grouped. Pure.

Source: Google's reference of searchanalytics.query, `dimensionFilterGroups`.
"""

import re
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from lab.search_console.enums import known_value
from lab.search_console.refusals import bad_request, check_names

_DIMENSIONS = ("query", "page", "country", "device", "searchAppearance")
_EXACT_CASE = ("query", "page")
_OPERATORS = ("equals", "notEquals", "contains", "notContains", "includingRegex", "excludingRegex")
_NEGATED = ("notEquals", "notContains", "excludingRegex")


class Filter(Struct, frozen=True):
    """A condition on one dimension. All conditions of a query must hold."""

    dimension: str
    operator: str
    expression: str


def parse_filters(groups: object) -> tuple[Filter, ...]:
    """Return the filters of all groups as one list: groups are joined by `and`, as filters are within a group.

    Raises Refused.
    """
    return tuple(_filter(item) for group in _objects(groups, "dimensionFilterGroups") for item in _filters_of(group))


def _filters_of(group: dict[str, Any]) -> list[dict[str, Any]]:
    check_names(group, {"groupType", "filters"})
    if known_value(group.get("groupType", "and"), ("and",)) is None:
        raise bad_request(f"Invalid value at 'dimension_filter_groups.group_type': {group['groupType']!r}")
    return _objects(group.get("filters", []), "dimension_filter_groups.filters")


def _objects(value: object, name: str) -> list[dict[str, Any]]:
    """Return the list of objects without null fields: null means the field is absent."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise bad_request(f"Invalid value at '{name}': expected a list of objects.")
    return [{key: found for key, found in item.items() if found is not None} for item in value]


def _filter(item: dict[str, Any]) -> Filter:
    check_names(item, {"dimension", "operator", "expression"})
    expression: object = item.get("expression")
    if not isinstance(expression, str) or not expression:
        raise bad_request(f"Invalid value at 'filters.expression': {expression!r}")
    dimension = _known(item.get("dimension", ""), "dimension", _DIMENSIONS)
    operator = _known(item.get("operator", "equals"), "operator", _OPERATORS)
    if "Regex" in operator:
        _compiled(expression)
    return Filter(dimension, operator, expression)


def _known(value: object, name: str, known: tuple[str, ...]) -> str:
    found = known_value(value, known)
    if found is None:
        raise bad_request(f"Invalid value at 'filters.{name}': {value!r}")
    return found


def _compiled(expression: str) -> re.Pattern[str]:
    try:
        return re.compile(expression)
    except (re.error, RecursionError, OverflowError) as error:
        raise bad_request(f"Invalid regular expression: {expression!r}") from error


def predicate(condition: Filter) -> Callable[[str], bool]:
    """Return the test of a filter. Equality is case-sensitive for queries and pages only, `contains` never."""
    passes = _positive(condition)
    return (lambda value: not passes(value)) if condition.operator in _NEGATED else passes


def _positive(condition: Filter) -> Callable[[str], bool]:
    expression = condition.expression
    if "Regex" in condition.operator:
        pattern = _compiled(expression)
        return lambda value: pattern.search(value) is not None
    lowered = expression.casefold()
    if "ontains" in condition.operator:
        return lambda value: lowered in value.casefold()
    if condition.dimension in _EXACT_CASE:
        return lambda value: value == expression
    return lambda value: value.casefold() == lowered
