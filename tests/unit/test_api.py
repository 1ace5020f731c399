"""The producer's HTTP API, with Kafka and the ledger in memory."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import date, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from cli.output import print_json
from pipeline.catalog import Catalog, Credential, Property
from pipeline.clock import now
from pipeline.contracts import codec
from pipeline.contracts.halts import Halts, halt_record
from pipeline.contracts.identity import run_id
from pipeline.contracts.messages import Control, SyncRequest
from pipeline.contracts.records import Position
from pipeline.contracts.resources import DayRecord, HaltList, RunProgress, StatusReport
from pipeline.errors import Retryable
from pipeline.ledger import days, runs
from pipeline.ledger.runs import Cancelled
from pipeline.pacific import pacific_date
from pipeline.postgres import Connection
from pipeline.publisher import Publisher
from pipeline.settings import HttpSettings
from producer.api import Api, Sources
from support.examples import DAY, NOW, a_report, a_run

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

    @property
    def sources(self) -> Sources:
        return Sources(self.connect, self.connect, self.halts, self.read_status)

    async def read_status(self, _: Connection, halts: Sequence[Control], catalog: Catalog | None) -> StatusReport:
        assert catalog == CATALOG
        return a_report(halts=[halt.scope for halt in halts])

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        if self.postgres_away:
            raise Retryable("PostgreSQL: away")
        yield cast("Connection", self)

    async def request_of(self, _: Connection, run: str) -> SyncRequest | None:
        return self.requests.get(run)

    async def progress(self, _: Connection, run: str) -> RunProgress | None:
        return a_run({"applied": 3}, run_id=run) if run == "known" else None

    async def newest(self, _: Connection, limit: int) -> list[RunProgress]:
        return [a_run({}, run_id="newest"), a_run({}, run_id="other")][:limit]

    async def can_be_cancelled(self, *_: object) -> bool:
        return True

    async def cancel(self, _: Connection, __: str) -> Cancelled:
        return Cancelled(3, 0, unplanned=False)

    async def days_of(self, _: Connection, url: str, period: tuple[date, date], report: str | None) -> list[DayRecord]:
        return [DayRecord(url, report or "by_date", "web", period[0], True, NOW, 7, False, False)]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(runs, "request_of", world.request_of)
    monkeypatch.setattr(runs, "progress", world.progress)
    monkeypatch.setattr(runs, "newest", world.newest)
    monkeypatch.setattr(runs, "cancel", world.cancel)
    monkeypatch.setattr(runs, "can_be_cancelled", world.can_be_cancelled)
    monkeypatch.setattr(days, "of_property", world.days_of)
    return world


@pytest.fixture
async def client(world: World) -> AsyncIterator[TestClient[Any, Any]]:
    api = Api(CATALOG, cast("Publisher", world), "gsc", world.sources)
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


async def test_every_operation_needs_the_token_and_the_document_does_not(client: TestClient[Any, Any]) -> None:
    document = await (await client.get("/openapi.json")).json()
    operations = [(method, path) for path, item in document["paths"].items() for method in item]
    assert len(operations) == 9
    for method, path in operations:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            response = await client.request(method, path.replace("{", "").replace("}", ""), headers=headers)
            assert (response.status, response.content_type) == (401, "application/problem+json"), path


async def test_without_a_configured_token_every_request_is_refused(world: World) -> None:
    api = Api(CATALOG, cast("Publisher", world), "gsc", world.sources)
    app = web.Application()
    app.add_routes(api.routes(HttpSettings()))
    async with TestClient(TestServer(app)) as client:
        assert (await client.get("/v1/halts", headers=TOKEN)).status == 403


async def test_an_invalid_body_names_the_field(client: TestClient[Any, Any]) -> None:
    response = await client.post("/v1/syncs", json={"nope": 1}, headers=TOKEN)
    assert response.status == 400
    assert (await response.json())["field"] == "nope"


async def test_an_implausible_year_is_a_bad_request(client: TestClient[Any, Any]) -> None:
    body = {**SYNC, "start": "0001-01-01"}
    response = await client.post("/v1/syncs", json=body, headers=TOKEN)
    assert (response.status, (await response.json())["field"]) == (400, "start")


async def test_everything_that_is_wrong_with_a_request_is_listed(client: TestClient[Any, Any]) -> None:
    body = {**SYNC, "all": False, "properties": ["nope"], "reports": ["none"]}
    response = await client.post("/v1/syncs", json=body, headers=TOKEN)
    assert response.status == 422
    assert [error["field"] for error in (await response.json())["errors"]] == ["properties", "reports"]


async def test_an_id_of_another_request_is_a_conflict(world: World, client: TestClient[Any, Any]) -> None:
    other = SyncRequest(request_id="r", all_properties=True, start=TODAY, end=TODAY, requested_at=now(), rolling=True)
    world.requests[run_id("r")] = other
    response = await client.post("/v1/syncs", json=SYNC, headers=TOKEN)
    assert (response.status, (await response.json())["field"]) == (409, "request_id")
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
    body = {"scope": "credential:acme", "reason": "too many calls", "until": "2199-01-01T00:00:00Z"}
    response = await client.post("/v1/halts", json=body, headers=TOKEN)
    assert response.status == 202
    assert (await response.json())["state"] == "halted"
    control = codec.decode(Control, world.published[0][2])
    assert (control.scope, control.actor) == ("credential:acme", "http")


async def test_the_end_of_a_halt_needs_an_offset(client: TestClient[Any, Any]) -> None:
    body = {"scope": "all", "reason": "r", "until": "2199-01-01T00:00:00"}
    response = await client.post("/v1/halts", json=body, headers=TOKEN)
    assert (response.status, (await response.json())["field"]) == (400, "until")


async def test_a_halt_of_an_unknown_scope_is_refused_and_resuming_it_is_not(
    world: World, client: TestClient[Any, Any]
) -> None:
    scope = "property:https://www.typo.example/a?b"
    response = await client.post("/v1/halts", json={"scope": scope, "reason": "r"}, headers=TOKEN)
    assert response.status == 422
    path = URL(f"/v1/halts/{quote(scope, safe='')}", encoded=True)
    response = await client.delete(path, params={"reason": "fixed"}, headers=TOKEN)
    assert response.status == 202
    control = codec.decode(Control, world.published[0][2])
    assert (control.scope, control.state, control.reason) == (scope, "running", "fixed")


async def test_active_halts_are_listed(world: World, client: TestClient[Any, Any]) -> None:
    world.halts.apply(Control(scope="all", state="halted", reason="r", actor="a", at=now()))
    response = await client.get("/v1/halts", headers=TOKEN)
    assert [halt["scope"] for halt in (await response.json())["halts"]] == ["all"]


async def test_the_newest_runs_are_listed(client: TestClient[Any, Any]) -> None:
    response = await client.get("/v1/runs?limit=1", headers=TOKEN)
    assert [run["run_id"] for run in (await response.json())["runs"]] == ["newest"]
    response = await client.get("/v1/runs?limit=0", headers=TOKEN)
    assert (response.status, (await response.json())["field"]) == (400, "limit")


async def test_a_run_is_cancelled_with_a_halt(world: World, client: TestClient[Any, Any]) -> None:
    response = await client.delete("/v1/runs/known?reason=wrong+days", headers=TOKEN)
    assert (response.status, await response.json()) == (200, {"run_id": "known", "cancelled_pages": 3})
    control = codec.decode(Control, world.published[0][2])
    assert (control.scope, control.state, control.reason) == ("run:known", "halted", "cancelled: wrong days")
    assert (await client.delete("/v1/runs/unknown", headers=TOKEN)).status == 404


async def test_days_of_a_property_are_listed_by_default_the_last_thirty(client: TestClient[Any, Any]) -> None:
    response = await client.get("/v1/days?property=sc-domain:example.com", headers=TOKEN)
    [day] = (await response.json())["days"]
    assert (day["date"], day["completed_at"]) == (str(TODAY - timedelta(days=29)), "2026-03-10T12:00:00Z")
    response = await client.get("/v1/days?property=sc-domain:exampel.com", headers=TOKEN)
    assert (response.status, (await response.json())["field"]) == (422, "property")
    response = await client.get("/v1/days", headers=TOKEN)
    assert (response.status, (await response.json())["field"]) == (400, "property")


async def test_a_client_that_is_generated_from_the_document_works(
    client: TestClient[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "openapi.json").write_bytes(await (await client.get("/openapi.json")).read())
    (tmp_path / "config.yaml").write_text("post_hooks: []")
    generator = Path(sys.executable).with_name("openapi-python-client")
    options = ("--path", "openapi.json", "--meta", "none", "--output-path", "generated_client", "--fail-on-warning")
    argv = [generator, "generate", *options, "--config", "config.yaml"]
    subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    monkeypatch.syspath_prepend(tmp_path)

    def operation(name: str) -> Any:
        return import_module(f"generated_client.api.default.{name}").asyncio

    models = import_module("generated_client.models")
    root = str(client.make_url("/"))
    async with import_module("generated_client").AuthenticatedClient(root, token="secret") as own:
        run = await operation("get_run")("known", client=own)
        assert (run.run_id, run.state.value, run.pages.to_dict(), run.planned_at) == (
            "known",
            "finished",
            {"applied": 3},
            NOW,
        )
        body = models.HaltBody(scope="property:sc-domain:example.com", reason="r")
        assert (await operation("halt_scope")(client=own, body=body)).actor == "http"
        assert (await operation("resume_scope")(body.scope, client=own)).state.value == "running"
        accepted = await operation("request_sync")(client=own, body=models.SyncBody.from_dict(SYNC))
        assert accepted.run_id == run_id("r")
        status = await operation("get_status")(client=own)
        assert [item.newest_complete_day for item in status.credentials] == [DAY]
        missing = await operation("get_run")("unknown", client=own)
        assert (type(missing), missing.status, missing.detail) == (models.ProblemDetails, 404, "no such run")


async def test_the_command_line_prints_things_as_http_answers_them(
    world: World, client: TestClient[Any, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    halt = Control(scope="all", state="halted", reason="r", actor="a", at=NOW, until=NOW + timedelta(days=50_000))
    world.halts.apply(halt)
    for path, value in (
        ("/v1/runs/known", a_run({"applied": 3}, run_id="known")),
        ("/v1/halts", HaltList([halt_record(halt)])),
        ("/v1/status", a_report(halts=["all"])),
    ):
        print_json(value)
        assert json.loads(capsys.readouterr().out) == await (await client.get(path, headers=TOKEN)).json()
