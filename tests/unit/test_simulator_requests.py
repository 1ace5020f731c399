"""The simulator's checks of requests, its filters, and the shape of its answers."""

import json
from datetime import date, timedelta
from typing import Any

import pytest

from lab.search_console.filters import Filter
from lab.search_console.pages import render_body, visible_days
from lab.search_console.refusals import Refused
from lab.search_console.requests import Query, check_site, parse_query
from lab.search_console.settings import Site
from lab.search_console.world import Day, rows_of

TODAY = date(2026, 3, 10)
DAY = date(2026, 3, 1)
SITE = Site(url="sc-domain:a.com", users=("u",), rows=200)
WIDE = ("query", "page", "country", "device")


def parsed(**changes: Any) -> Query:
    body = {"startDate": str(DAY), "endDate": str(DAY), **changes}
    return parse_query(json.dumps(body).encode(), TODAY)


def refused(**changes: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        parsed(**changes)
    assert caught.value.status == 400
    return caught.value


def filtered(*filters: dict[str, Any]) -> dict[str, Any]:
    return {"dimensionFilterGroups": [{"filters": list(filters)}]}


def a_filter(dimension: Any = "query", operator: Any = "equals", expression: Any = "x") -> dict[str, Any]:
    return {"dimension": dimension, "operator": operator, "expression": expression}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"startDate": None}, "startDate"),
        ({"startDate": 20260301}, "startDate"),
        ({"startDate": "20260301"}, "startDate"),
        ({"endDate": None}, "endDate"),
        ({"endDate": ["2026-03-01"]}, "endDate"),
        ({"endDate": "2026-02-01"}, "endDate"),
        ({"startDate": "2024-01-01", "endDate": "2024-01-01"}, "endDate"),
        ({"rowLimit": 25_001}, "rowLimit"),
        ({"rowLimit": "1"}, "rowLimit"),
        ({"rowLimit": True}, "rowLimit"),
        ({"startRow": -1}, "startRow"),
        ({"startRow": {}}, "startRow"),
        ({"dimensions": 5}, "dimensions"),
        ({"dimensions": "date"}, "dimensions"),
        ({"dimensions": {"date": 1}}, "dimensions"),
        ({"dimensions": [["date"]]}, "dimensions"),
        ({"dimensions": ["colour"]}, "dimensions"),
        ({"dimensions": ["date", "date"]}, "dimensions"),
        ({"dimensions": ["searchAppearance", "date"]}, "SEARCH_APPEARANCE"),
        ({"dimensions": ["query"], "type": "discover"}, "DISCOVER"),
        ({"dimensions": ["query"], "searchType": "googleNews"}, "GOOGLE_NEWS"),
        ({"dimensions": ["hour"]}, "HOURLY_ALL"),
        ({"type": ["web"]}, "type"),
        ({"dataState": {}}, "dataState"),
        ({"orderBy": "x"}, 'Unknown name "orderBy"'),
        ({"aggregationType": "byMoon"}, "aggregationType"),
        ({"aggregationType": 1}, "aggregationType"),
        ({"aggregationType": "byProperty", "dimensions": ["page"]}, "aggregationType"),
        ({"aggregationType": "byProperty", **filtered(a_filter("page"))}, "aggregationType"),
        ({"aggregationType": "byProperty", "type": "discover"}, "aggregationType"),
        ({"aggregationType": "byNewsShowcasePanel"}, "aggregationType"),
        ({"dimensionFilterGroups": 7}, "dimensionFilterGroups"),
        ({"dimensionFilterGroups": [7]}, "dimensionFilterGroups"),
        ({"dimensionFilterGroups": [{"groupType": "or", "filters": []}]}, "group_type"),
        ({"dimensionFilterGroups": [{"filters": "x"}]}, "filters"),
        ({"dimensionFilterGroups": [{"filter": []}]}, 'Unknown name "filter"'),
        (filtered(a_filter("date")), "filters.dimension"),
        (filtered(a_filter(["query"])), "filters.dimension"),
        (filtered(a_filter(operator="like")), "filters.operator"),
        (filtered(a_filter(expression=5)), "filters.expression"),
        (filtered({"dimension": "query"}), "filters.expression"),
        (filtered({**a_filter(), "mode": "x"}), 'Unknown name "mode"'),
        (filtered(a_filter(operator="includingRegex", expression="(")), "regular expression"),
        ({"type": "discover", **filtered(a_filter("query"))}, "DISCOVER"),
    ],
)
def test_an_invalid_request_is_refused_with_the_field(body: dict[str, Any], text: str) -> None:
    assert text in refused(**body).message


@pytest.mark.parametrize("data", [b"{", b"[]", b"7", b"\xff\xfe\x00", b'"text"', b"[" * 100_000, b"\x00"])
def test_a_body_that_is_not_an_object_is_refused(data: bytes) -> None:
    with pytest.raises(Refused, match="Invalid JSON payload") as caught:
        parse_query(data, TODAY)
    assert json.loads(caught.value.body())["error"]["code"] == 400


def test_null_means_absent() -> None:
    unset = dict.fromkeys(["dimensions", "type", "rowLimit", "startRow", "dataState", "dimensionFilterGroups"])
    assert parsed(**unset) == parsed()


@pytest.mark.parametrize("url", ["https://a.com", "http://a.com/x", "a.com/", "", "sc-domain:", "sc-domain:a.com/"])
def test_an_incomplete_property_url_is_refused(url: str) -> None:
    with pytest.raises(Refused) as caught:
        check_site(url)
    assert caught.value.status == 400


@pytest.mark.parametrize("url", ["https://a.com/", "http://a.com/x/", "sc-domain:a.com"])
def test_a_complete_property_url_is_accepted(url: str) -> None:
    check_site(url)


@pytest.mark.parametrize(
    ("changes", "aggregated"),
    [
        ({}, "byProperty"),
        ({"dimensions": ["page"]}, "byPage"),
        (filtered(a_filter("page")), "byPage"),
        ({"type": "discover"}, "byPage"),
        ({"aggregationType": "auto"}, "byProperty"),
        ({"aggregationType": "byPage"}, "byPage"),
        ({"aggregationType": "byProperty"}, "byProperty"),
        (
            {
                "aggregationType": "byNewsShowcasePanel",
                "type": "discover",
                **filtered(a_filter("searchAppearance", expression="NEWS_SHOWCASE")),
            },
            "byNewsShowcasePanel",
        ),
    ],
)
def test_the_answer_contains_its_aggregation_type(changes: dict[str, Any], aggregated: str) -> None:
    assert json.loads(render_body(parsed(**changes), [], TODAY))["responseAggregationType"] == aggregated


@pytest.mark.parametrize(
    ("operator", "expression", "passes"),
    [
        ("equals", "search kafka 5", lambda text: text == "search kafka 5"),
        ("equals", "SEARCH kafka 5", lambda text: False),
        ("notEquals", "search kafka 5", lambda text: text != "search kafka 5"),
        ("contains", "CAFÉ", lambda text: "café" in text),
        ("notContains", "KAFKA", lambda text: "kafka" not in text),
        ("includingRegex", "1[0-9]$", lambda text: text[-2:-1] == "1" and text[-1:].isdigit()),
        ("excludingRegex", "^kafka", lambda text: not text.startswith("kafka")),
    ],
)
def test_a_filter_keeps_matching_rows(operator: str, expression: str, passes: Any) -> None:
    day = Day(1, SITE, DAY, "web")
    every = rows_of(day, WIDE)
    kept = rows_of(day, WIDE, (Filter("query", operator, expression),))
    assert kept == [row for row in every if passes(row.keys[0])]
    assert len(kept) < len(every)


def test_all_filters_apply_before_the_grouping() -> None:
    query = parsed(
        dimensions=["date"],
        dimensionFilterGroups=[
            {
                "groupType": "and",
                "filters": [a_filter("country", expression="JPN"), a_filter("page", "contains", "/ü")],
            },
            {"filters": [{"dimension": "device", "expression": "mobile"}]},
        ],
    )
    day = Day(1, SITE, DAY, "web")
    below = [row for row in rows_of(day, WIDE) if row.keys[2:] == ("jpn", "MOBILE") and "/ü" in row.keys[1]]
    [total] = rows_of(day, query.dimensions, query.filters)
    assert (total.clicks, total.impressions) == (sum(r.clicks for r in below), sum(r.impressions for r in below))
    assert total.impressions > 0


def test_an_answer_has_googles_shape() -> None:
    query = parsed(type="discover", dimensions=["page"])
    body = json.loads(render_body(query, rows_of(Day(1, SITE, DAY, "discover"), ("page",)), TODAY))
    assert set(body["rows"][0]) == {"keys", "clicks", "impressions", "ctr"}
    assert isinstance(body["rows"][0]["clicks"], float)
    assert "rows" not in json.loads(render_body(query, [], TODAY))


def test_recent_days_are_marked_incomplete() -> None:
    query = parsed(startDate="2026-03-09", endDate="2026-03-09", dataState="all", dimensions=["date"])
    assert json.loads(render_body(query, [], TODAY))["metadata"] == {"firstIncompleteDate": "2026-03-09"}


def test_hourly_data_has_the_first_incomplete_hour() -> None:
    days = {"startDate": "2026-03-01", "endDate": str(TODAY)}
    query = parsed(**days, dataState="hourly_all", dimensions=["date", "hour"])
    [(name, value)] = json.loads(render_body(query, [], TODAY))["metadata"].items()
    assert (name, value) == ("firstIncompleteHour", f"{TODAY - timedelta(days=2)}T00:00:00-08:00")


@pytest.mark.parametrize(("state", "dimensions"), [("all", ["page"]), ("hourly_all", ["page"]), ("final", ["date"])])
def test_queries_that_do_not_group_by_time_have_no_metadata(state: str, dimensions: list[str]) -> None:
    query = parsed(startDate=str(TODAY), endDate=str(TODAY), dataState=state, dimensions=dimensions)
    assert "metadata" not in json.loads(render_body(query, [], TODAY))


@pytest.mark.parametrize(
    ("state", "first", "last"),
    [("final", 487, 3), ("all", 487, 0), ("hourly_all", 10, 0)],
)
def test_data_is_available_for_a_range_of_days(state: str, first: int, last: int) -> None:
    query = parsed(startDate="2020-01-01", endDate=str(TODAY + timedelta(days=5)), dataState=state)
    days = visible_days(query, TODAY)
    assert (days[0], days[-1]) == (TODAY - timedelta(days=first), TODAY - timedelta(days=last))
    assert len(days) == first - last + 1
