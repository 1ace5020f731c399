"""The comparison of the tables with the simulator's rows."""

from datetime import date

import pytest

from lab.comparison import Day, Difference, Table, compare_day, expected_table, series_days
from pipeline.catalog import Catalog
from pipeline.report import Report

DATE = date(2026, 3, 1)
REPORT = Report(name="by_country", dimensions=("date", "country"), search_types=("web", "discover"))
DAY = Day("sc-domain:example.com", REPORT, "web", DATE)
SOURCE: Table = {("usa",): (1.0, 4.0, 0.25, 2.5), ("fra",): (0.0, 1.0, 0.0, 9.0)}


def difference(missing: int, unexpected: int, different: int) -> Difference:
    return Difference("sc-domain:example.com", "by_country", "web", DATE, missing, unexpected, different)


@pytest.mark.parametrize(
    ("table", "result"),
    [
        (dict(SOURCE), None),
        ({}, difference(2, 0, 0)),
        ({**SOURCE, ("deu",): (0.0, 1.0, 0.0, 9.0)}, difference(0, 1, 0)),
        ({**SOURCE, ("usa",): (1.0, 4.0, 0.25, None)}, difference(0, 0, 1)),
        ({("usa",): (2.0, 4.0, 0.5, 2.5), ("deu",): (0.0, 1.0, 0.0, 9.0)}, difference(1, 1, 1)),
    ],
    ids=["equal", "missing", "unexpected", "different", "all three"],
)
def test_a_day_differs_by_missing_unexpected_and_different_rows(table: Table, result: Difference | None) -> None:
    assert compare_day(DAY, table, SOURCE) == result


def test_two_empty_days_are_equal() -> None:
    assert compare_day(DAY, {}, {}) is None


def test_every_series_of_the_catalog_is_compared_on_each_day() -> None:
    catalog = Catalog.model_validate(
        {
            "credentials": [{"id": "acme", "type": "service_account", "file": "acme.json"}],
            "properties": [
                {"url": "sc-domain:example.com", "credential": "acme"},
                {"url": "https://example.org/", "credential": "acme"},
            ],
            "reports": [REPORT.model_dump()],
        }
    )
    days = [date(2026, 3, 2), DATE]
    assert [(day.property, day.search_type, day.date) for day in series_days(catalog, days)] == [
        (url, search_type, day)
        for url in ("sc-domain:example.com", "https://example.org/")
        for search_type in ("web", "discover")
        for day in days
    ]


@pytest.mark.parametrize(("search_type", "position"), [("web", 2.5), ("discover", None)])
def test_source_rows_are_keyed_without_the_date_and_discover_has_no_position(
    search_type: str, position: float | None
) -> None:
    day = DAY._replace(search_type=search_type)
    assert expected_table(day, [(["2026-03-01", "usa"], 1, 4, 2.5)]) == {("usa",): (1.0, 4.0, 0.25, position)}


def test_source_keys_are_compared_as_postgresql_stores_them() -> None:
    (key,) = expected_table(DAY, [(["2026-03-01", "a\0b"], 1, 4, 2.5)])
    assert key == (r"a\x00b",)
