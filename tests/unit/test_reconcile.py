"""Reconcile: the findings about a day, the comparison with Google, and the requests that repair them."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
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
    publish_requests,
    refetch_requests,
)
from maintenance.totals import ComparableSeries, comparable_series, compare_totals, sample_series
from pipeline.catalog import Catalog, Credential, Property
from pipeline.contracts import codec
from pipeline.contracts.messages import SyncRequest
from pipeline.contracts.records import Position
from pipeline.kafka import Headers
from pipeline.report import Report, ReportFilter
from support.examples import DAY, NOW

CATALOG = Catalog(
    credentials=(Credential(id="acme", type="service_account", file=Path("x")),),
    properties=tuple(Property(url=f"sc-domain:{name}.com", credential="acme") for name in "ab"),
    reports=(
        Report(name="by_date", dimensions=("date",), search_types=("web", "image")),
        Report(name="by_query", dimensions=("date", "query")),
        Report(name="fresh", dimensions=("date",), data_state="all"),
        Report(
            name="france",
            dimensions=("date", "device"),
            filters=(ReportFilter(dimension="country", expression="fra"),),
        ),
    ),
)


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


def test_only_additive_reports_of_final_data_without_a_selection_are_compared() -> None:
    item = CATALOG.properties[0]
    found = comparable_series(CATALOG, item)
    assert found == [ComparableSeries(item, "by_date", "web"), ComparableSeries(item, "by_date", "image")]


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (2, 2), (5, 2)])
def test_a_sample_has_at_most_all_properties(count: int, expected: int) -> None:
    assert len({series.property.url for series in sample_series(CATALOG, count)}) == expected


async def test_each_series_of_the_sample_is_compared_over_its_own_days() -> None:
    series = [ComparableSeries(item, "by_date", "web") for item in CATALOG.properties]
    later = DAY + timedelta(days=1)
    days = [a_day(property=series[0].property.url, report="by_date", date=day) for day in (DAY, later)]
    asked, shown = [], []

    async def read(item: ComparableSeries, period: tuple[date, date]) -> Mapping[date, tuple[float, float]]:
        asked.append((item, period))
        return {DAY: (5.0, 50.0), later: (6.0, 50.0)}

    findings = await compare_totals(series, days, 0.01, read, lambda *progress: shown.append(progress))
    assert asked == [(series[0], (DAY, later))]
    assert [(item.kind, item.property, item.date) for item in findings] == [("totals", series[0].property.url, later)]
    assert shown == [("sc-domain:a.com", 1, 2), ("sc-domain:b.com", 2, 2)]


async def test_a_repair_requests_all_rows_of_its_days() -> None:
    sent: list[tuple[str, SyncRequest]] = []

    class Kafka:
        async def publish(self, topic: str, key: str, value: bytes | None, headers: Headers = ()) -> Position:
            sent.append((topic, codec.decode(SyncRequest, value or b"")))
            return Position(0, 0)

    days = RefetchRequest("sc-domain:a.com", "by_date", date(2026, 3, 1), date(2026, 3, 3))
    await publish_requests(Kafka(), "gsc", [days], NOW)
    [(topic, request)] = sent
    assert topic == "gsc.sync-requests"
    assert (request.properties, request.reports) == (("sc-domain:a.com",), ("by_date",))
    assert (request.start, request.end) == (days.start, days.end)
    assert (request.full, request.rolling, request.requested_by) == (True, False, "reconcile")
