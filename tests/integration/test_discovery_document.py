"""What the client sends and the simulator answers, against Google's own description of the API."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fetcher.search_console import SearchConsole
from lab.search_console.enums import document_spelling
from lab.search_console.settings import SimulatorSettings, Site, Sitemap, User
from pipeline.clock import now
from pipeline.contracts.messages import DataState, Filter, Selection
from pipeline.contracts.reports import DIMENSIONS, SEARCH_TYPES
from pipeline.pacific import pacific_date
from support.discovery_document import document, operation, problems
from support.examples import a_batch
from support.fetcher import a_permit
from support.simulator import serving

TODAY = pacific_date(now())
DAY = TODAY - timedelta(days=10)
URL = "https://a.com/ü/"
SITES = "/webmasters/v3/sites"
SITE = f"{SITES}/https%3A%2F%2Fa.com%2F%C3%BC%2F"
QUERY = f"{SITE}/searchAnalytics/query"
MAP = "https://a.com/ü/sitemap.xml"


class Calls:
    """A server that keeps the calls that it receives."""

    def __init__(self) -> None:
        self.received: list[tuple[str, str, Any]] = []

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        path = request.raw_path.partition("?")[0]
        self.received.append((request.method, path, msgspec.json.decode(body) if body else None))
        return web.json_response({})


@pytest.fixture
async def calls() -> AsyncIterator[tuple[Calls, SearchConsole]]:
    calls, app = Calls(), web.Application()
    app.router.add_route("*", "/{path:.*}", calls.answer)
    async with TestServer(app) as server, SearchConsole(str(server.make_url("")), timeout_s=20, connections=2) as api:
        yield calls, api


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    sitemaps = (Sitemap(path=MAP, warnings=2), Sitemap(path="https://a.com/ü/new.xml", is_pending=True))
    sites = (
        Site(url=URL, users=("u",), rows=60, sitemaps=sitemaps, permissions=(("u", "siteOwner"),)),
        Site(url="sc-domain:b.com", users=("u",), permissions=(("u", "siteUnverifiedUser"),)),
    )
    settings = SimulatorSettings(sites=sites, users=(User(id="u"),), require_auth=False)
    with serving(settings) as simulator, httpx.Client(base_url=simulator.root, timeout=10) as opened:
        yield opened


def asked(**changes: Any) -> dict[str, Any]:
    return {"startDate": str(DAY), "endDate": str(DAY), "dimensions": ["date"], **changes}


async def test_the_fetchers_requests_are_those_that_google_describes(calls: tuple[Calls, SearchConsole]) -> None:
    recorded, api = calls
    states: list[DataState] = ["final", "all", "hourly_all"]
    for search_type in SEARCH_TYPES:
        for state in states:
            batch = a_batch(property=URL, dimensions=DIMENSIONS, search_type=search_type, data_state=state)
            await api.query(batch, "token", a_permit())
    condition = Filter(dimension="searchAppearance", operator="includingRegex", expression="x")
    selection = Selection(filters=(condition,), aggregation_type="byNewsShowcasePanel")
    await api.query(a_batch(property=URL, selection=selection), "token", a_permit())
    await api.totals(URL, "web", (DAY, DAY), "token")
    await api.sites("token")
    assert len(recorded.received) == len(SEARCH_TYPES) * 3 + 3
    for method, path, body in recorded.received:
        described = operation(method, path)
        assert described, f"{method} {path} is not an operation of the API"
        assert (body is not None) == ("request" in described)
        assert body is None or problems(described["request"]["$ref"], body) == []


QUERIES: list[dict[str, Any]] = [
    {},
    {"dimensions": [], "type": "image"},
    {"dimensions": ["query", "page", "country", "device"], "startDate": str(DAY - timedelta(days=5))},
    {"dimensions": ["searchAppearance"]},
    {"dimensions": ["page"], "type": "discover"},
    {"dimensions": ["page"], "type": "googleNews", "aggregationType": "byPage"},
    {"dataState": "all", "endDate": str(TODAY)},
    {"dataState": "hourly_all", "dimensions": ["hour"], "startDate": str(TODAY), "endDate": str(TODAY)},
    {"startRow": 1_000_000},
]


@pytest.mark.parametrize("changes", QUERIES)
def test_answers_to_queries_are_those_that_google_describes(client: httpx.Client, changes: dict[str, Any]) -> None:
    answer = client.post(QUERY, json=asked(**changes)).raise_for_status().json()
    assert problems("SearchAnalyticsQueryResponse", answer) == []


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        (SITES, "SitesListResponse"),
        (f"{SITE}/sitemaps", "SitemapsListResponse"),
        (f"{SITE}/sitemaps/https%3A%2F%2Fa.com%2F%C3%BC%2Fsitemap.xml", "WmxSitemap"),
    ],
)
def test_lists_are_those_that_google_describes(client: httpx.Client, path: str, schema: str) -> None:
    answer = client.get(path).raise_for_status().json()
    assert answer
    assert problems(schema, answer) == []
    described = operation("GET", path)
    assert described
    assert described["response"]["$ref"] == schema


def test_a_range_of_days_has_a_row_for_each_date_with_data(client: httpx.Client) -> None:
    days = [str(DAY - timedelta(days=number)) for number in range(5)]
    listed = client.post(QUERY, json=asked(startDate=days[-1])).json()["rows"]
    alone = [client.post(QUERY, json=asked(startDate=day, endDate=day)).json().get("rows", []) for day in days]
    assert sorted(row["keys"][0] for row in listed) == sorted(rows[0]["keys"][0] for rows in alone if rows)


def test_values_may_be_spelled_as_in_the_document(client: httpx.Client) -> None:
    fields = document()["schemas"]["SearchAnalyticsQueryRequest"]["properties"]
    assert {document_spelling(name) for name in DIMENSIONS} == set(fields["dimensions"]["items"]["enum"])
    assert {document_spelling(name) for name in SEARCH_TYPES} == set(fields["type"]["enum"])
    condition = {"dimension": "DEVICE", "operator": "NOT_EQUALS", "expression": "MOBILE"}
    groups = [{"groupType": "AND", "filters": [condition]}]
    as_documented = asked(dimensions=["DEVICE"], type="WEB", aggregationType="BY_PAGE", dataState="FINAL")
    as_usual = asked(dimensions=["device"], type="web", aggregationType="byPage", dataState="final")
    answers = [client.post(QUERY, json={**body, "dimensionFilterGroups": groups}) for body in (as_documented, as_usual)]
    assert answers[0].raise_for_status().json() == answers[1].json()
    assert {row["keys"][0] for row in answers[0].json()["rows"]} == {"DESKTOP", "TABLET"}


def test_an_unverified_user_sees_a_property_and_reads_nothing_of_it(client: httpx.Client) -> None:
    levels = {entry["siteUrl"]: entry["permissionLevel"] for entry in client.get(SITES).json()["siteEntry"]}
    assert levels == {URL: "siteOwner", "sc-domain:b.com": "siteUnverifiedUser"}
    for call in ("searchAnalytics/query", "sitemaps"):
        path = f"{SITES}/sc-domain%3Ab.com/{call}"
        answer = client.get(path) if call == "sitemaps" else client.post(path, json=asked())
        assert answer.status_code == 403


def test_an_unknown_sitemap_is_not_found(client: httpx.Client) -> None:
    assert client.get(f"{SITE}/sitemaps/https%3A%2F%2Fa.com%2Fother.xml").status_code == 404


def test_the_check_finds_what_google_does_not_describe() -> None:
    answer = {"rows": [{"keys": [1], "clicks": "1"}], "metadata": {"first_incomplete_date": "2026-01-01"}}
    assert len(problems("SearchAnalyticsQueryResponse", answer)) == 3
    assert problems("SearchAnalyticsQueryRequest", {"type": "moon", "orderBy": "x"})
    assert operation("GET", "/webmasters/v3/moons") is None
