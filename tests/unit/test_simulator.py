"""The simulated world, its quotas, and its checks of requests."""

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.search_console.answers import Refused, parse_query, rendered
from lab.search_console.quotas import Enforcer, highest_window
from lab.search_console.settings import Quotas, Site
from lab.search_console.world import CAP, PAGE_LIMIT, Day, page_of, rows_of

TODAY = date(2026, 3, 10)
DAY = date(2026, 3, 1)
SITE = Site(url="sc-domain:a.com", users=("u",), rows=200, full_days=(date(2026, 3, 2),), cap_days=(date(2026, 3, 3),))
WIDE = ("date", "query", "page", "country", "device")


def test_the_same_seed_gives_the_same_rows_and_another_gives_others() -> None:
    assert rows_of(Day(1, SITE, DAY, "web"), WIDE) == rows_of(Day(1, SITE, DAY, "web"), WIDE)
    assert rows_of(Day(1, SITE, DAY, "web"), WIDE) != rows_of(Day(2, SITE, DAY, "web"), WIDE)


def test_totals_by_date_are_the_sums_of_the_rows() -> None:
    (total,) = rows_of(Day(1, SITE, DAY, "web"), ("date",))
    rows = rows_of(Day(1, SITE, DAY, "web"), WIDE)
    assert (total.clicks, total.impressions) == (sum(r.clicks for r in rows), sum(r.impressions for r in rows))


def test_some_days_are_empty_some_full_and_some_at_the_cap() -> None:
    sizes = {day: len(rows_of(Day(1, SITE, date(2026, 1, day), "web"), WIDE)) for day in range(1, 32)}
    assert 0 in sizes.values()
    assert len(rows_of(Day(1, SITE, date(2026, 3, 2), "web"), WIDE)) == PAGE_LIMIT
    assert len(rows_of(Day(1, SITE, date(2026, 3, 3), "web"), WIDE)) == CAP


def test_pages_hold_every_row_and_repeat_one_at_a_border() -> None:
    rows = rows_of(Day(1, SITE, date(2026, 3, 3), "web"), WIDE)
    pages = [page_of(rows, start, PAGE_LIMIT) for start in (0, PAGE_LIMIT, 2 * PAGE_LIMIT)]
    assert [len(page) for page in pages[:2]] == [PAGE_LIMIT, PAGE_LIMIT]
    assert sum(map(len, pages)) == CAP + 1
    assert {row.keys for page in pages for row in page} == {row.keys for row in rows}
    assert pages[2][0] == pages[1][-1]
    assert page_of(rows, 3 * PAGE_LIMIT, PAGE_LIMIT) == []


def test_strange_text_is_among_the_rows() -> None:
    queries = {row.keys[1] for row in rows_of(Day(1, SITE, DAY, "web"), WIDE)}
    pages = {row.keys[2] for row in rows_of(Day(1, SITE, DAY, "web"), WIDE)}
    assert any("\x00" in query for query in queries)
    assert any("\ud800" in query for query in queries)
    assert max(map(len, pages)) > 5000


def test_a_revision_changes_adds_and_removes() -> None:
    before = {row.keys: row for row in rows_of(Day(1, SITE, DAY, "web"), WIDE)}
    after = {row.keys: row for row in rows_of(Day(1, SITE, DAY, "web", 1, 3, 4, 5), WIDE)}
    assert len(after.keys() - before.keys()) == 4
    assert len(before.keys() - after.keys()) == 5
    assert sum(before[key] != after[key] for key in before.keys() & after.keys()) == 3


@given(
    gaps=st.lists(st.floats(0, 20), min_size=1, max_size=120),
    limit=st.integers(1, 20),
)
def test_no_more_than_the_quota_passes_in_any_minute(gaps: list[float], limit: int) -> None:
    enforcer, quotas, now, passed = Enforcer(), Quotas(site_qpm=limit), 0.0, []
    for gap in gaps:
        now += gap
        before = sum(now - 60 < moment for moment in passed)
        refused = enforcer.refusal(quotas, "s", "u", 1, now)
        assert (refused is not None) == (before >= limit)
        if refused is None:
            passed.append(now)
    assert highest_window(passed) <= limit


def test_each_quota_refuses_with_its_own_reason() -> None:
    cases = {
        "quotaExceeded": Quotas(site_qpm=1),
        "userRateLimitExceeded": Quotas(user_qpm=1),
        "rateLimitExceeded": Quotas(project_qpm=1),
        "loadQuota": Quotas(site_load=1),
    }
    for reason, quotas in cases.items():
        enforcer = Enforcer()
        assert enforcer.refusal(quotas, "s", "u", 1, 0.0) is None
        assert enforcer.refusal(quotas, "s", "u", 1, 1.0) == reason


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "startDate"),
        ({"startDate": "2026-03-02"}, "endDate"),
        ({"rowLimit": 25_001}, "rowLimit"),
        ({"startRow": -1}, "startRow"),
        ({"dimensions": ["colour"]}, "dimensions"),
        ({"dimensions": ["searchAppearance", "date"]}, "SEARCH_APPEARANCE"),
        ({"dimensions": ["query"], "type": "discover"}, "DISCOVER"),
        ({"dimensions": ["query"], "searchType": "googleNews"}, "GOOGLE_NEWS"),
        ({"dimensions": ["hour"]}, "HOURLY_ALL"),
        ({"orderBy": "x"}, 'Unknown name "orderBy"'),
        ({"endDate": "2026-02-01"}, "endDate"),
    ],
)
def test_a_wrong_request_is_refused_with_the_field(body: dict[str, Any], text: str) -> None:
    good = {"startDate": "2026-03-01", "endDate": "2026-03-01"} if body and "startDate" not in body else {}
    with pytest.raises(Refused) as caught:
        parse_query(json.dumps({**good, **body}).encode(), TODAY)
    assert caught.value.status == 400
    assert text in caught.value.message


def test_an_answer_is_shaped_like_googles() -> None:
    query = parse_query(
        b'{"startDate":"2026-03-01","endDate":"2026-03-01","type":"discover","dimensions":["page"]}', TODAY
    )
    body = json.loads(rendered(query, rows_of(Day(1, SITE, DAY, "discover"), ("page",)), TODAY))
    assert set(body["rows"][0]) == {"keys", "clicks", "impressions", "ctr"}
    assert isinstance(body["rows"][0]["clicks"], float)
    assert "rows" not in json.loads(rendered(query, [], TODAY))


def test_fresh_days_tell_that_they_may_change() -> None:
    query = parse_query(b'{"startDate":"2026-03-09","endDate":"2026-03-09","dataState":"all"}', TODAY)
    assert json.loads(rendered(query, [], TODAY))["metadata"] == {"first_incomplete_date": "2026-03-09"}
