"""Planning pages, and building and validating sync requests."""

from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.catalog import Catalog, Credential, Property
from pipeline.contracts.messages import SyncRequest
from pipeline.contracts.records import PlanCursor
from pipeline.errors import Invalid
from pipeline.report import DEFAULT_REPORTS, Report
from pipeline.retention import kept_since
from producer.planner import HISTORY_DAYS, next_chunk, plan
from producer.sync_request import build_request, same_request, unpublished_from, validate
from support.examples import NOW

TODAY = date(2026, 3, 10)
CATALOG = Catalog(
    credentials=(Credential(id="acme", type="service_account", file=Path("acme.json")),),
    properties=(
        Property(url="sc-domain:a.com", credential="acme", reports=("by_page",)),
        Property(url="https://b.com/", credential="acme"),
    ),
    reports=(
        Report(name="by_page", dimensions=("date", "page"), search_types=("web", "image")),
        Report(name="by_query", dimensions=("date", "query")),
    ),
)


def a_request(**changes: Any) -> SyncRequest:
    fields = {"start": "2026-03-01", "end": "2026-03-03", "all": True, "request_id": "r"} | changes
    return build_request(fields, now=NOW, today=NOW.date(), requested_by="test")


def test_the_same_request_gives_the_same_pages() -> None:
    pages = list(plan(a_request(), CATALOG, 7, NOW.date()))
    assert pages == list(plan(a_request(), CATALOG, 7, NOW.date()))
    assert len(pages) == 3 * (2 + 3)
    assert {page.batch_id for page in pages}.isdisjoint(
        page.batch_id for page in plan(a_request(), CATALOG, 8, NOW.date())
    )


def test_every_property_counts_its_own_rounds() -> None:
    pages = list(plan(a_request(), CATALOG, 7, NOW.date()))
    for url, count in (("sc-domain:a.com", 6), ("https://b.com/", 9)):
        assert [page.round for page in pages if page.property == url] == list(range(count))


def test_a_plan_is_cut_between_days_and_continued_behind_each_cut() -> None:
    whole, pieces = list(plan(a_request(), CATALOG, 7, NOW.date())), []
    cursor = None
    while chunk := next_chunk(plan(a_request(), CATALOG, 7, NOW.date(), cursor), 4):
        pieces.append(chunk)
        cursor = PlanCursor(chunk[-1].property, chunk[-1].date, chunk[-1].round, 0)
    assert [page for piece in pieces for page in piece] == whole
    assert [len(piece) for piece in pieces] == [6, 5, 4]
    days = [{(page.property, page.date) for page in piece} for piece in pieces]
    assert all(one.isdisjoint(other) for one, other in pairwise(days))


def test_a_plan_continues_by_a_catalog_that_has_changed_without_repeating_a_day() -> None:
    first = next_chunk(plan(a_request(), CATALOG, 7, NOW.date()), 4)
    cursor = PlanCursor(first[-1].property, first[-1].date, first[-1].round, 0)
    added = Property(url="https://a-new.com/", credential="acme")
    changed = CATALOG.model_copy(update={"properties": (added, *reversed(CATALOG.properties))})
    rest = list(plan(a_request(), changed, 7, NOW.date(), cursor))
    assert {page.batch_id for page in (*first, *rest)} == {
        page.batch_id for page in plan(a_request(), CATALOG, 7, NOW.date())
    }


@given(days=st.integers(1, 400), reports=st.sampled_from([(), ("by_page",)]))
def test_every_page_has_an_id_of_its_own(days: int, reports: tuple[str, ...]) -> None:
    start = date(2026, 3, 3) - timedelta(days=days - 1)
    pages = list(plan(a_request(start=start.isoformat(), reports=reports), CATALOG, 1, NOW.date()))
    assert len({page.batch_id for page in pages}) == len(pages) == days * (4 if reports else 5)


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"start": "2026-03-05"}, "end", "2026-03-03 is before start 2026-03-05"),
        ({"end": "2026-03-11"}, "end", "2026-03-11 is in the future"),
        ({"start": str(TODAY - timedelta(days=HISTORY_DAYS + 1))}, "start", "keeps 16 months"),
        ({"all": False}, "properties", "none given"),
        ({"properties": ["sc-domain:a.com"]}, "properties", "not both"),
        ({"all": False, "properties": ["sc-domain:x.com"]}, "properties", "unknown property 'sc-domain:x.com'"),
        ({"reports": ["nope"]}, "reports", "unknown report 'nope'"),
        (
            {"all": False, "properties": ["sc-domain:a.com"], "reports": ["by_query"]},
            "reports",
            "'by_query' is not a report of sc-domain:a.com",
        ),
    ],
)
def test_a_request_that_cannot_be_planned(changes: dict[str, Any], field: str, text: str) -> None:
    problems = validate(a_request(**changes), CATALOG, TODAY)
    assert [(p.field, text in p.message) for p in problems] == [(field, True)]


def test_a_good_request_has_no_problem() -> None:
    assert validate(a_request(end=TODAY.isoformat()), CATALOG, TODAY) == []


@pytest.mark.parametrize(
    ("body", "field"),
    [(b"{}", "start"), (b"{", "body"), (b'{"start": "x", "end": "2026-01-01"}', "start"), (b'{"nope": 1}', "nope")],
)
def test_an_invalid_body_names_its_field(body: bytes, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        build_request(body, now=NOW, today=NOW.date(), requested_by="test")
    assert caught.value.field == field


def test_the_default_reports_are_legal() -> None:
    assert len({report.name for report in DEFAULT_REPORTS}) == len(DEFAULT_REPORTS)


ROLLING = Catalog(
    credentials=CATALOG.credentials,
    properties=(Property(url="sc-domain:a.com", credential="acme"),),
    reports=(
        Report(name="settled", dimensions=("date",)),
        Report(name="fresh", dimensions=("date",), data_state="all"),
        Report(name="hourly", dimensions=("date", "hour"), data_state="hourly_all"),
        Report(name="short", dimensions=("date",), retention=7),
    ),
)


def planned_days(request: SyncRequest) -> dict[str, list[int]]:
    """The ages of the planned days, by report."""
    ages: dict[str, list[int]] = {}
    for page in plan(request, ROLLING, 1, NOW.date()):
        ages.setdefault(page.report.name, []).append((NOW.date() - page.date).days)
    return ages


def rolling(**changes: Any) -> SyncRequest:
    fields = {"all": True, "days": 14} | changes
    return build_request(fields, now=NOW, today=NOW.date(), requested_by="test")


def test_a_rolling_window_skips_days_without_data() -> None:
    assert planned_days(rolling()) == {
        "settled": list(range(3, 15)),
        "fresh": list(range(15)),
        "hourly": list(range(11)),
        "short": list(range(3, 8)),
    }


def test_explicit_days_are_planned_before_they_are_final() -> None:
    request = a_request(start="2026-03-09", end="2026-03-10")
    assert planned_days(request)["settled"] == [0, 1]


def test_the_same_window_twice_on_a_day_is_the_same_request() -> None:
    assert rolling() == rolling()
    assert rolling().priority == "daily"
    ids = {
        rolling().request_id,
        rolling(days=15).request_id,
        rolling(reports=["fresh"]).request_id,
        rolling(all=False, properties=["sc-domain:a.com"]).request_id,
        rolling(priority="backfill").request_id,
        rolling(full=True).request_id,
        build_request({"all": True, "days": 14}, now=NOW, today=date(2026, 3, 11), requested_by="test").request_id,
    }
    assert len(ids) == 7


def test_a_window_of_another_day_is_requested_by_its_dates() -> None:
    tomorrow = {"now": NOW + timedelta(days=1), "today": TODAY + timedelta(days=1), "requested_by": "again"}
    last_days = {"all": True, "days": 14, "request_id": "r"}
    by_name = {"all": True, "start": "2026-02-24", "end": "2026-03-10", "rolling": True, "request_id": "r"}
    assert same_request(rolling(request_id="r"), a_request(**by_name))
    assert same_request(a_request(**by_name), build_request(by_name, **tomorrow))
    assert not same_request(rolling(request_id="r"), build_request(last_days, **tomorrow))


def test_names_in_another_order_are_the_same_request() -> None:
    names = ["https://b.com/", "sc-domain:a.com"]
    one, other = (rolling(all=False, properties=given) for given in (names, names[::-1]))
    assert one.request_id == other.request_id
    assert same_request(one, other)
    assert not same_request(one, rolling(all=False, properties=names[:1], request_id=one.request_id))


def test_days_exclude_start_and_end() -> None:
    with pytest.raises(Invalid, match="give either `days`, or `start` and `end`"):
        rolling(start="2026-03-01")
    with pytest.raises(Invalid, match=r"days: must be a whole number of at most 487"):
        rolling(days=500)


def test_history_is_all_that_google_keeps_below_everything_daily() -> None:
    request = build_request({"history": True, "all": True}, now=NOW, today=TODAY, requested_by="test")
    assert (request.start, request.end, request.rolling) == (TODAY - timedelta(days=HISTORY_DAYS), TODAY, True)
    assert request.priority == "backfill"
    assert validate(request, CATALOG, TODAY) == []
    again = build_request({"history": True, "all": True}, now=NOW, today=TODAY, requested_by="cli")
    assert (again.request_id, same_request(again, request)) == (request.request_id, True)
    window = {"days": HISTORY_DAYS, "all": True}
    assert build_request(window, now=NOW, today=TODAY, requested_by="test").request_id != request.request_id


@pytest.mark.parametrize("other", [{"days": 3}, {"start": "2026-03-01"}, {"end": "2026-03-01"}])
def test_history_excludes_other_days(other: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="history: give either `history`, or `days`, or `start` and `end`"):
        build_request({"history": True, "all": True, **other}, now=NOW, today=TODAY, requested_by="test")


def test_no_day_before_the_start_of_a_property_is_planned() -> None:
    first, second = CATALOG.properties
    started = first.model_copy(update={"start": date(2026, 3, 3)})
    future = second.model_copy(update={"start": date(2026, 3, 4)})
    catalog = Catalog.model_construct(**{**dict(CATALOG), "properties": (started, future)})
    pages = list(plan(a_request(), catalog, 7, NOW.date()))
    assert {(page.property, page.date) for page in pages} == {("sc-domain:a.com", date(2026, 3, 3))}
    assert [page.round for page in pages] == [0, 1]


def test_only_reports_with_a_retention_are_cut() -> None:
    assert kept_since(ROLLING, NOW.date()) == {"short": date(2026, 3, 3)}


def test_an_implausible_year_is_invalid() -> None:
    with pytest.raises(Invalid, match="start: the year 1999 is not from 2000 to 2199"):
        a_request(start="1999-12-31")


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({"end": "2026-03-07"}, None),
        ({"end": "2026-03-08"}, date(2026, 3, 8)),
        ({"start": "2026-03-10", "end": "2026-03-10"}, date(2026, 3, 10)),
        ({"end": "2026-03-10", "rolling": True}, None),
        ({"end": "2026-03-10", "reports": ["fresh"]}, None),
    ],
)
def test_days_without_final_data_yet_are_named(changes: dict[str, Any], first: date | None) -> None:
    catalog = Catalog(
        credentials=CATALOG.credentials,
        properties=(Property(url="sc-domain:a.com", credential="acme", reports=("fresh", "by_query")),),
        reports=(*CATALOG.reports, Report(name="fresh", dimensions=("date",), data_state="all")),
    )
    assert unpublished_from(a_request(**changes), catalog) == first
