"""Comparison of a day's rows in the table with the simulator's, row by row. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from pipeline.catalog import Catalog
from pipeline.contracts.reports import TYPES_WITHOUT_POSITION
from pipeline.contracts.text import storable
from pipeline.report import Report

Metrics = tuple[float, float, float, float | None]
"""Clicks, impressions, CTR and position."""
Table = Mapping[tuple[str, ...], Metrics]
"""The rows of a day, by the values of their dimensions without the date."""
SourceRow = tuple[list[str], int, int, float]
"""A row of the simulator: the values of all dimensions, clicks, impressions and position."""


class Difference(NamedTuple):
    """A day of a series in which the table differs from the source."""

    property: str
    report: str
    search_type: str
    date: date
    missing: int
    """Rows of the source that are not in the table."""
    unexpected: int
    """Rows of the table that are not in the source."""
    different: int
    """Rows in both, with other metrics."""


class Day(NamedTuple):
    """A day of a series."""

    property: str
    report: Report
    search_type: str
    date: date


def series_days(catalog: Catalog, days: Iterable[date]) -> list[Day]:
    """Return the days of every series of the catalog: each property, report and search type."""
    dates = list(days)
    return [
        Day(item.url, report, search_type, day)
        for item in catalog.properties
        for report in catalog.reports_of(item)
        for search_type in report.search_types
        for day in dates
    ]


def expected_table(day: Day, rows: Iterable[SourceRow]) -> Table:
    """Return the simulator's rows as the table must hold them."""
    dimensions = [number for number, name in enumerate(day.report.dimensions) if name != "date"]
    without_position = day.search_type in TYPES_WITHOUT_POSITION
    return {
        tuple(storable(keys[number]) for number in dimensions): (
            float(clicks),
            float(impressions),
            clicks / impressions,
            None if without_position else position,
        )
        for keys, clicks, impressions, position in rows
    }


def compare_day(day: Day, table: Table, source: Table) -> Difference | None:
    """Return how the table differs from the source, or None when both are equal."""
    missing = len(source.keys() - table.keys())
    unexpected = len(table.keys() - source.keys())
    different = sum(table[key] != source[key] for key in table.keys() & source.keys())
    if not missing and not unexpected and not different:
        return None
    return Difference(day.property, day.report.name, day.search_type, day.date, missing, unexpected, different)


@dataclass
class Comparison:
    """The days that have been compared: their rows in the table, and how they differ from the source."""

    rows: int = 0
    differences: list[Difference] = field(default_factory=list)

    def add(self, day: Day, table: Table, source: Table) -> None:
        """Compare a day, and count its rows."""
        self.rows += len(table)
        if difference := compare_day(day, table, source):
            self.differences.append(difference)
