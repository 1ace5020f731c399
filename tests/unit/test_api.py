"""The producer's HTTP API, with Kafka and the ledger in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from pipeline.catalog import Catalog, Credential, Property
from pipeline.clock import now
from pipeline.contracts import codec
from pipeline.contracts.halts import Halts
from pipeline.contracts.identity import run_id
from pipeline.contracts.messages import Control, SyncRequest
from pipeline.contracts.records import Position
from pipeline.contracts.resources import RunProgress
from pipeline.errors import Retryable
from pipeline.ledger import runs
from pipeline.pacific import pacific_date
from pipeline.postgres import Connection
from pipeline.publisher import Publisher
from pipeline.settings import HttpSettings
from producer.api import Api
from support.examples import a_run

CATALOG = Catalog(
    credentials=(Credential(id="acme", type="service_account", file=Path("x")),),
    properties=(Property(url="sc-domain:example.com", credential="acme"),),
)
TOKEN = {"Authorization": "Bearer secret"}
TODAY = pacific_date(now())
SYNC = {"request_id": "r", "all": True, "start": str(TODAY), "end": str(TODAY)}


class World:
    """Kafka and the ledger."""

    def __init__(self) -> None:
        self.halts = Halts()
        self.published: list[tuple[str, str, bytes]] = []
        self.requests: dict[str, SyncRequest] = {}
        self.broker_away = False
        self.postgres_away = False

    async def publish(self, topic: str, key: str, value: bytes) -> Position:
        if self.broker_away:
            raise Retryable("Kafka: no broker")
        self.published.append((topic, key, value))
        return Position(0, 0)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        if self.postgres_away:
            raise Retryable("PostgreSQL: away")
        yield cast("Connection", self)

    async def request_of(self, _: Connection, run: str) -> SyncRequest | None:
        return self.requests.get(run)

    async def progress(self, _: Connection, run: str) -> RunProgress | None:
        return a_run({"applied": 3}, run_id=run) if run == "known" else None


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(runs, "request_of", world.request_of)
    monkeypatch.setattr(runs, "progress", world.progress)
    return world


@pytest.fixture
async def client(world: World) -> AsyncIterator[TestClient[Any, Any]]:
    api = Api(CATALOG, cast("Publisher", world), "gsc", world.connect, world.halts)
    app = web.Application()
    app.add_routes(api.routes(HttpSettings(http_token="secret")))
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_a_sync_request_is_published_and_its_run_returned(world: World, client: TestClient[Any, Any]) -> None:
    response = await client.post("/v1/syncs", json=SYNC, headers=TOKEN)
    assert response.status == 202
    assert await response.json() == {"request_id": "r", "run_id": run_id("r")}
    [(topic, key, value)] = world.published
    assert (topic, key) == ("gsc.sync-requests", "r")
    assert codec.decode(SyncRequest, value).requested_by == "http"


async def test_every_route_needs_the_token(client: TestClient[Any, Any]) -> None:
    for method, path in (("POST", "/v1/syncs"), ("GET", "/v1/runs/x"), ("POST", "/v1/halts"), ("GET", "/v1/halts")):
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            assert (await client.request(method, path, headers=headers)).status == 401


async def test_without_a_configured_token_every_request_is_refused(world: World) -> None:
    api = Api(CATALOG, cast("Publisher", world), "gsc", world.connect, world.halts)
    app = web.Application()
    app.add_routes(api.routes(HttpSettings()))
    async with TestClient(TestServer(app)) as client:
        assert (await client.get("/v1/halts", headers=TOKEN)).status == 403


async def test_an_invalid_body_names_the_field(client: TestClient[Any, Any]) -> None:
    response = await client.post("/v1/syncs", json={"nope": 1}, headers=TOKEN)
    assert response.status == 400
    assert (await response.json())["error"]["field"] == "nope"


async def test_an_implausible_year_is_a_bad_request(client: TestClient[Any, Any]) -> None:
    body = {**SYNC, "start": "0001-01-01"}
    response = await client.post("/v1/syncs", json=body, headers=TOKEN)
    assert (response.status, (await response.json())["error"]["field"]) == (400, "start")


async def test_everything_that_is_wrong_with_a_request_is_listed(client: TestClient[Any, Any]) -> None:
    body = {**SYNC, "all": False, "properties": ["nope"], "reports": ["none"]}
    response = await client.post("/v1/syncs", json=body, headers=TOKEN)
    assert response.status == 422
    assert [error["field"] for error in (await response.json())["errors"]] == ["properties", "reports"]


async def test_an_id_of_another_request_is_a_conflict(world: World, client: TestClient[Any, Any]) -> None:
    other = SyncRequest(request_id="r", all_properties=True, start=TODAY, end=TODAY, requested_at=now(), rolling=True)
    world.requests[run_id("r")] = other
    response = await client.post("/v1/syncs", json=SYNC, headers=TOKEN)
    assert (response.status, (await response.json())["error"]["field"]) == (409, "request_id")
    assert world.published == []


async def test_the_same_request_again_is_accepted(world: World, client: TestClient[Any, Any]) -> None:
    await client.post("/v1/syncs", json=SYNC, headers=TOKEN)
    world.requests[run_id("r")] = codec.decode(SyncRequest, world.published[0][2])
    assert (await client.post("/v1/syncs", json=SYNC, headers=TOKEN)).status == 202


async def test_a_request_is_accepted_while_postgresql_is_away(world: World, client: TestClient[Any, Any]) -> None:
    world.postgres_away = True
    assert (await client.post("/v1/syncs", json=SYNC, headers=TOKEN)).status == 202


async def test_an_unreachable_server_is_503(world: World, client: TestClient[Any, Any]) -> None:
    world.broker_away = world.postgres_away = True
    assert (await client.post("/v1/syncs", json=SYNC, headers=TOKEN)).status == 503
    assert (await client.get("/v1/runs/known", headers=TOKEN)).status == 503


async def test_a_run_is_returned_by_its_id(client: TestClient[Any, Any]) -> None:
    response = await client.get("/v1/runs/known", headers=TOKEN)
    assert (await response.json())["pages"] == {"applied": 3}
    assert (await client.get("/v1/runs/unknown", headers=TOKEN)).status == 404


async def test_a_halt_is_published(world: World, client: TestClient[Any, Any]) -> None:
    body = {"scope": "credential:acme", "reason": "too many calls"}
    response = await client.post("/v1/halts", json=body, headers=TOKEN)
    assert response.status == 202
    assert (await response.json())["state"] == "halted"
    control = codec.decode(Control, world.published[0][2])
    assert (control.scope, control.actor) == ("credential:acme", "http")


async def test_a_halt_of_an_unknown_scope_is_refused_and_resuming_it_is_not(client: TestClient[Any, Any]) -> None:
    scope = {"scope": "property:sc-domain:typo.com", "reason": "r"}
    assert (await client.post("/v1/halts", json=scope, headers=TOKEN)).status == 422
    assert (await client.post("/v1/halts", json={**scope, "state": "running"}, headers=TOKEN)).status == 202


async def test_active_halts_are_listed(world: World, client: TestClient[Any, Any]) -> None:
    world.halts.apply(Control(scope="all", state="halted", reason="r", actor="a", at=now()))
    response = await client.get("/v1/halts", headers=TOKEN)
    assert [halt["scope"] for halt in (await response.json())["halts"]] == ["all"]
