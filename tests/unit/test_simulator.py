"""The simulator's data, pages and quotas."""

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from lab.search_console.engine import Engine
from lab.search_console.pages import Pages
from lab.search_console.quotas import Attempt, Enforcer, highest_window
from lab.search_console.requests import Query, parse_query
from lab.search_console.settings import Quotas, SimulatorSettings, Site, User
from lab.search_console.world import CAP, PAGE_LIMIT, Day, Row, merged, page_of, rows_of

TODAY = date(2026, 3, 10)
DAY = date(2026, 3, 1)
SITE = Site(url="sc-domain:a.com", users=("u",), rows=200, full_days=(date(2026, 3, 2),), cap_days=(date(2026, 3, 3),))
WIDE = ("date", "query", "page", "country", "device")


def test_the_same_seed_gives_the_same_rows_and_another_seed_others() -> None:
    assert rows_of(Day(1, SITE, DAY, "web"), WIDE) == rows_of(Day(1, SITE, DAY, "web"), WIDE)
    assert rows_of(Day(1, SITE, DAY, "web"), WIDE) != rows_of(Day(2, SITE, DAY, "web"), WIDE)


def test_totals_by_date_equal_the_sums_of_the_rows() -> None:
    (total,) = rows_of(Day(1, SITE, DAY, "web"), ("date",))
    rows = rows_of(Day(1, SITE, DAY, "web"), WIDE)
    assert (total.clicks, total.impressions) == (sum(r.clicks for r in rows), sum(r.impressions for r in rows))


def test_some_days_are_empty_some_full_and_some_at_the_cap() -> None:
    sizes = {day: len(rows_of(Day(1, SITE, date(2026, 1, day), "web"), WIDE)) for day in range(1, 32)}
    assert 0 in sizes.values()
    assert len(rows_of(Day(1, SITE, date(2026, 3, 2), "web"), WIDE)) == PAGE_LIMIT
    assert len(rows_of(Day(1, SITE, date(2026, 3, 3), "web"), WIDE)) == CAP


def test_pages_contain_every_row_and_repeat_one_at_each_border() -> None:
    rows = rows_of(Day(1, SITE, date(2026, 3, 3), "web"), WIDE)
    pages = [page_of(rows, start, PAGE_LIMIT) for start in (0, PAGE_LIMIT, 2 * PAGE_LIMIT)]
    assert [len(page) for page in pages] == [PAGE_LIMIT, PAGE_LIMIT, CAP - 2 * PAGE_LIMIT + 2]
    assert {row.keys for page in pages for row in page} == {row.keys for row in rows}
    assert pages[1][0] == pages[0][-1]
    assert pages[2][0] == pages[1][-1]
    assert page_of(rows, 3 * PAGE_LIMIT, PAGE_LIMIT) == []


def test_no_row_is_repeated_after_exactly_one_full_page() -> None:
    rows = rows_of(Day(1, SITE, date(2026, 3, 2), "web"), WIDE)
    assert page_of(rows, 0, PAGE_LIMIT) == rows
    assert page_of(rows, PAGE_LIMIT, PAGE_LIMIT) == []


def test_a_row_can_be_missing_at_a_page_border() -> None:
    rows = rows_of(Day(1, SITE, date(2026, 3, 3), "web"), WIDE)
    pages = [page_of(rows, start, PAGE_LIMIT, missed=True) for start in (0, PAGE_LIMIT, 2 * PAGE_LIMIT)]
    listed = {row.keys for page in pages for row in page}
    assert {row.keys for row in rows} - listed == {rows[PAGE_LIMIT].keys, rows[2 * PAGE_LIMIT].keys}
    assert sum(map(len, pages)) == CAP


@given(clicks=st.lists(st.integers(0, 3), max_size=40), limit=st.integers(1, 7))
def test_pages_of_any_size_lose_no_row_and_never_exceed_their_limit(clicks: list[int], limit: int) -> None:
    rows = [Row((str(n),), c, c + 1, 1.0) for n, c in enumerate(sorted(clicks, reverse=True))]
    listed: list[Row] = []
    start = 0
    while page := page_of(rows, start, limit):
        assert len(page) <= limit
        new = [row for row in page if row not in listed]
        assert new, "a page of nothing but repeats"
        listed += new
        start += limit
    assert listed == rows


def a_query(**changes: Any) -> Query:
    body = {"startDate": "2026-03-03", "endDate": "2026-03-03", "dimensions": WIDE, "rowLimit": PAGE_LIMIT, **changes}
    return parse_query(json.dumps(body).encode(), TODAY)


@pytest.fixture
def pages() -> Iterator[Pages]:
    opened = Pages()
    yield opened
    opened.close()


async def test_a_page_is_rendered_once_and_again_after_a_change(pages: Pages) -> None:
    settings = SimulatorSettings(sites=(SITE,), users=())
    first = await pages.gzipped(settings, SITE, a_query(type="news"), TODAY)
    assert await pages.gzipped(settings, SITE, a_query(type="news"), TODAY) is first
    groups = [{"filters": [{"dimension": "device", "expression": "MOBILE"}]}]
    filtered = await pages.gzipped(settings, SITE, a_query(type="news", dimensionFilterGroups=groups), TODAY)
    reseeded = await pages.gzipped(structs.replace(settings, seed=2), SITE, a_query(type="news"), TODAY)
    pages.revise(SITE.url, date(2026, 3, 3), 1, 1, 1)
    revised = await pages.gzipped(settings, SITE, a_query(type="news"), TODAY)
    assert len({first, filtered, reseeded, revised}) == 4


async def test_all_pages_of_a_query_can_be_rendered_before_its_calls() -> None:
    engine = Engine(SimulatorSettings(sites=(SITE,), users=(User(id="u"),), now=datetime(2026, 3, 10, 20, tzinfo=UTC)))
    day = {"startDate": "2026-03-02", "endDate": "2026-03-02", "dimensions": ["page", "query"], "rowLimit": PAGE_LIMIT}
    try:
        assert await engine.render(SITE.url, json.dumps(day).encode()) == PAGE_LIMIT
        engine.pages.close()  # nothing can be rendered from now on
        for start in (0, PAGE_LIMIT):
            query = parse_query(json.dumps({**day, "startRow": start}).encode(), engine.today)
            assert await engine.pages.gzipped(engine.settings, SITE, query, engine.today)
    finally:
        engine.close()


async def test_missed_rows_are_a_setting_and_the_truth_contains_them(pages: Pages) -> None:
    for missed in (False, True):
        settings = SimulatorSettings(sites=(SITE,), users=(), missed_rows=missed)
        listed = set()
        for start in (0, PAGE_LIMIT, 2 * PAGE_LIMIT):
            page = await pages.gzipped(settings, SITE, a_query(startRow=start), TODAY)
            listed |= {tuple(row["keys"]) for row in json.loads(gzip.decompress(page))["rows"]}
        truth = {row.keys for row in pages.rows(settings.seed, SITE, a_query(), TODAY)}
        assert listed <= truth
        assert len(truth - listed) == (2 if missed else 0)


def test_a_range_of_days_is_grouped_together() -> None:
    days = [rows_of(Day(1, SITE, DAY + timedelta(days=n), "news"), ("country",)) for n in range(4)]
    rows = merged(days)
    assert len({row.keys for row in rows}) == len(rows) < sum(map(len, days))
    assert sum(row.clicks for row in rows) == sum(row.clicks for day in days for row in day)
    assert [row.clicks for row in rows] == sorted((row.clicks for row in rows), reverse=True)


@pytest.mark.parametrize(
    ("day", "hours", "offsets"),
    [
        (date(2026, 1, 5), 24, {"-08:00"}),
        (date(2026, 7, 5), 24, {"-07:00"}),
        (date(2026, 3, 8), 23, {"-08:00", "-07:00"}),
        (date(2026, 11, 1), 25, {"-08:00", "-07:00"}),
    ],
)
def test_hours_belong_to_the_pacific_day(day: date, hours: int, offsets: set[str]) -> None:
    keys = {row.keys[0] for row in rows_of(Day(4, SITE, day, "web"), ("hour",))}
    assert len(keys) == hours
    assert {key[:10] for key in keys} == {str(day)}
    assert {key[-6:] for key in keys} == offsets


def test_rows_contain_unusual_text() -> None:
    queries = {row.keys[1] for row in rows_of(Day(1, SITE, DAY, "web"), WIDE)}
    pages = {row.keys[2] for row in rows_of(Day(1, SITE, DAY, "web"), WIDE)}
    assert any("\x00" in query for query in queries)
    assert any("\ud800" in query for query in queries)
    assert max(map(len, pages)) > 5000


def test_a_revision_changes_adds_and_removes_rows() -> None:
    before = {row.keys: row for row in rows_of(Day(1, SITE, DAY, "web"), WIDE)}
    after = {row.keys: row for row in rows_of(Day(1, SITE, DAY, "web", 1, 3, 4, 5), WIDE)}
    assert len(after.keys() - before.keys()) == 4
    assert len(before.keys() - after.keys()) == 5
    assert sum(before[key] != after[key] for key in before.keys() & after.keys()) == 3


@given(
    gaps=st.lists(st.floats(0, 20), min_size=1, max_size=120),
    limit=st.integers(1, 20),
)
def test_no_minute_has_more_calls_than_the_quota(gaps: list[float], limit: int) -> None:
    enforcer, quotas, now = Enforcer(), Quotas(site_qpm=limit), 0.0
    passed: list[float] = []
    for gap in gaps:
        now += gap
        before = sum(now - 60 < moment for moment in passed)
        refused = enforcer.refusal(quotas, attempt(), now)
        assert (refused is not None) == (before >= limit)
        if refused is None:
            passed.append(now)
    assert highest_window(passed) <= limit


@pytest.mark.parametrize(
    ("quotas", "reason"),
    [
        (Quotas(site_qpm=1), "quotaExceeded"),
        (Quotas(site_qps=1), "quotaExceeded"),
        (Quotas(user_qpm=1), "userRateLimitExceeded"),
        (Quotas(project_qpm=1), "rateLimitExceeded"),
        (Quotas(project_qpd=1), "dailyLimitExceeded"),
        (Quotas(site_load=1), "loadQuota"),
    ],
)
def test_each_quota_refuses_with_its_own_reason(quotas: Quotas, reason: str) -> None:
    enforcer = Enforcer()
    assert enforcer.refusal(quotas, attempt(), 0.0) is None
    assert enforcer.refusal(quotas, attempt(), 0.5) == reason


@pytest.mark.parametrize("refusing", [Quotas(site_qpm=1, user_qpm=3), Quotas(site_load=1, user_qpm=3)])
def test_a_refused_call_counts_towards_no_other_quota(refusing: Quotas) -> None:
    enforcer = Enforcer()
    found = [enforcer.refusal(refusing, attempt("a"), number / 10) for number in range(9)]
    assert found[0] is None
    assert "userRateLimitExceeded" not in found
    assert [enforcer.refusal(refusing, attempt(name), 1.0) for name in "bcd"] == [None, None, "userRateLimitExceeded"]


def test_the_daily_quota_is_reset_at_midnight() -> None:
    enforcer, quotas = Enforcer(), Quotas(project_qpd=2)
    assert [enforcer.refusal(quotas, attempt(), 0.0) for _ in range(3)] == [None, None, "dailyLimitExceeded"]
    assert enforcer.refusal(quotas, attempt(today=DAY + timedelta(days=1)), 1.0) is None


def attempt(site: str = "s", today: date = DAY) -> Attempt:
    return Attempt(site, "u", 1, today)
