"""Dates in Search Console's time zone."""

from datetime import UTC, date, datetime

from pipeline.pacific import pacific_date


def test_a_date_changes_at_midnight_in_pacific_time() -> None:
    assert pacific_date(datetime(2026, 3, 10, 6, 59, tzinfo=UTC)) == date(2026, 3, 9)
    assert pacific_date(datetime(2026, 3, 10, 7, 0, tzinfo=UTC)) == date(2026, 3, 10)
    assert pacific_date(datetime(2026, 12, 10, 7, 59, tzinfo=UTC)) == date(2026, 12, 9)
