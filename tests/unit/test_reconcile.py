"""Reconcile: the findings about a day, the comparison with Google, and the requests that repair them."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from maintenance.reconcile import (
    KINDS,
    REPAIRABLE,
    Day,
    Finding,
    FindingRange,
    RefetchRequest,
    differing_totals,
    finding_ranges,
    findings_of,
    refetch_requests,
)
from support.examples import DAY, NOW


def a_day(**changes: Any) -> Day:
    """A day without a finding."""
    day = Day(
        property="p", report="r", search_type="web", date=DAY, generation=7, pages=1, dead=0, pending=0,
        pending_since=None, empty=False, complete_generation=7, completed_at=NOW, ledger_rows=100, truncated=False,
        may_change=False, vanished_kept=0, rows=100, clicks=5.0, impressions=50.0,
    )  # fmt: skip
    return day._replace(**changes)


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({}, []),
        ({"generation": None, "complete_generation": None, "rows": 0, "ledger_rows": 0}, ["unplanned"]),
        ({"dead": 1, "complete_generation": None}, ["dead"]),
        ({"pending": 1, "pending_since": NOW - timedelta(hours=1), "complete_generation": None}, []),
        ({"pending": 1, "pending_since": NOW - timedelta(hours=25), "complete_generation": None}, ["late"]),
        ({"rows": 99}, ["rows"]),
        ({"rows": 101}, ["rows"]),
        ({"rows": 99, "complete_generation": 6}, []),  # a newer generation is being fetched
        ({"rows": 49_990, "ledger_rows": 50_000, "pages": 3, "truncated": True}, ["truncated"]),
        ({"rows": 49_000, "ledger_rows": 50_000, "pages": 3}, ["rows"]),
        ({"rows": 110, "vanished_kept": 10}, ["kept"]),
        ({"may_change": True, "completed_at": datetime(2026, 3, 2, tzinfo=UTC)}, ["stale"]),
        ({"may_change": True, "completed_at": datetime(2026, 3, 6, tzinfo=UTC)}, []),
        ({"empty": True, "rows": 0, "ledger_rows": 0}, []),
        ({"empty": True, "rows": 0, "ledger_rows": 0, "complete_generation": None}, ["unpublished"]),
    ],
)
def test_findings_of_a_day(changes: dict[str, Any], kinds: list[str]) -> None:
    assert [finding.kind for finding in findings_of(a_day(**changes), NOW)] == kinds


def test_totals_are_compared_with_a_tolerance() -> None:
    days = [a_day(date=date(2026, 3, number)) for number in (1, 2, 3)] + [a_day(date=date(2026, 3, 4), may_change=True)]
    totals = {date(2026, 3, 1): (5.0, 50.4), date(2026, 3, 2): (5.0, 60.0)}
    findings = list(differing_totals(days, totals, 0.01))
    assert [(finding.kind, finding.date.day) for finding in findings] == [("totals", 2), ("totals", 3)]
    assert findings[0].detail == "clicks 5 in the table, 5 from the API; impressions 50 and 60"


def test_consecutive_days_are_one_request() -> None:
    def a_finding(kind: Any, day: int, report: str = "r") -> Finding:
        return Finding(kind, "p", report, "web", date(2026, 3, day), "")

    findings = [
        *(a_finding("dead", day) for day in (1, 2, 3, 7)),
        a_finding("totals", 2),
        a_finding("late", 4, "other"),
        a_finding("truncated", 5),
        a_finding("kept", 5),
    ]
    assert refetch_requests(findings) == [
        RefetchRequest("p", "other", date(2026, 3, 4), date(2026, 3, 4)),
        RefetchRequest("p", "r", date(2026, 3, 1), date(2026, 3, 3)),
        RefetchRequest("p", "r", date(2026, 3, 7), date(2026, 3, 7)),
    ]


def test_consecutive_days_are_one_range_of_a_kind_and_series() -> None:
    def a_finding(kind: Any, day: int, detail: str = "") -> Finding:
        return Finding(kind, "p", "r", "web", date(2026, 3, day), detail)

    findings = [
        a_finding("late", 3),
        a_finding("dead", 2, "second"),
        a_finding("dead", 1, "first"),
        a_finding("dead", 4),
    ]
    assert finding_ranges(findings) == [
        FindingRange("dead", "p", "r", "web", date(2026, 3, 1), date(2026, 3, 2), "first"),
        FindingRange("dead", "p", "r", "web", date(2026, 3, 4), date(2026, 3, 4), ""),
        FindingRange("late", "p", "r", "web", date(2026, 3, 3), date(2026, 3, 3), ""),
    ]


def test_every_kind_but_two_can_be_repaired() -> None:
    assert set(KINDS) > REPAIRABLE
    assert set(KINDS) - REPAIRABLE == {"truncated", "kept"}
