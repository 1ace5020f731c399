"""Requests over HTTP to the producer of a running pipeline."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from lab.scenario import Scenario
from lab.servers import Servers
from pipeline.contracts.identity import run_id
from support.pipeline import (
    LAST_DAY,
    Running,
    a_day,
    repeated,
    run_json,
    running_pipeline,
    simulator_settings,
)

TOKEN = "s3cret-token"
DAYS = {"start": a_day(2).isoformat(), "end": LAST_DAY.isoformat()}
REFUSED_BODIES: dict[tuple[int, str | None], list[dict[str, Any]]] = {
    (400, "body"): [
        {"content": b"\xff"},
        {"content": b"[" * 100_000},
        {"content": b"{}x", "headers": {"Content-Encoding": "gzip"}},
    ],
    (400, "request_id"): [{"content": b'{"request_id": "\\u0000"}'}, {"json": {"request_id": 7}}],
    (400, "nonsense"): [{"json": {"nonsense": 1}}],
    (400, "start"): [{"json": {"start": "soon", "end": "later", "all": True}}],
    (413, None): [{"content": b"x" * 2_000_000}],
    (422, "properties"): [{"json": {**DAYS, "properties": ["sc-domain:nobody.example"]}}],
}


def assert_tokens_are_required(client: httpx.Client) -> None:
    for authorization in (b"", b"Bearer wrong", b"Bearer \xff\xfe"):
        answer = client.post("/v1/syncs", json={**DAYS, "all": True}, headers={"Authorization": authorization})
        assert answer.status_code == 401, authorization
    assert httpx.post(client.base_url.join("/v1/syncs")).status_code == 401


def assert_wrong_requests_are_refused(client: httpx.Client) -> None:
    for (status, field), requests in REFUSED_BODIES.items():
        for request in requests:
            answer = client.post("/v1/syncs", **request)
            assert (answer.status_code, answer.json()["field"]) == (status, field), request
    for method, path, status in (("GET", "/v1/nothing", 404), ("PUT", "/v1/syncs", 405)):
        answer = client.request(method, path)
        assert (answer.status_code, answer.json()["field"]) == (status, None)


def assert_the_id_belongs_to_one_request(client: httpx.Client) -> None:
    """`daily-1` was requested before."""
    assert client.post("/v1/syncs", json={**DAYS, "all": True, "request_id": "daily-1"}).status_code == 202
    other = {**DAYS, "all": True, "reports": ["by_date"], "request_id": "daily-1"}
    answer = client.post("/v1/syncs", json=other)
    assert (answer.status_code, answer.json()["field"]) == (409, "request_id")


def assert_halts_are_of_known_scopes(client: httpx.Client) -> None:
    halt = {"scope": "property:sc-domain:nobody.example", "reason": "x"}
    answer = client.post("/v1/halts", json=halt)
    assert (answer.status_code, answer.json()["field"]) == (422, "scope")
    assert client.delete(f"/v1/halts/{quote(halt['scope'], safe='')}").status_code == 202


def assert_the_run_is_reported(client: httpx.Client) -> None:
    assert client.get("/v1/runs/nobody").status_code == 404
    assert client.get("/v1/runs/%00").status_code in {400, 404}
    assert b"gsc_pages_published_total 18.0" in client.get("/metrics").content
    assert client.get("/live").status_code == 200


def assert_commands_print_the_same(running: Running, client: httpx.Client, run: str) -> None:
    """What HTTP answers is what the commands print with --json."""
    assert client.get("/v1/halts").json() == run_json(running, "halts")
    progress = client.get(f"/v1/runs/{run}").json()
    assert progress["pages"] == {"applied": 18}
    printed = run_json(running, "runs", run)
    assert {**progress, "finished_last_minute": 0} == {**printed, "finished_last_minute": 0}
    assert [item["run_id"] for item in client.get("/v1/runs").json()["runs"]] == [run]
    status = client.get("/v1/status").json()
    assert status.keys() == run_json(running, "status").keys()
    assert [item["processes"] for item in status["services"]] == [1, 1, 1]
    assert [item["newest_complete_day"] for item in status["properties"]] == [LAST_DAY.isoformat()] * 2
    query = {"property": "sc-domain:shop-1.example", "start": a_day(2).isoformat(), "report": "by_date"}
    listed = client.get("/v1/days", params=query).json()["days"]
    assert [(item["date"], item["complete"]) for item in listed] == [(str(a_day(n)), True) for n in range(3)]


async def test_requests_over_http(servers: Servers, dsn: str, topic_prefix: str, folder: Path) -> None:
    world = simulator_settings(Scenario(days=3, rows=20, latency_s=0.0, full_days=False))
    with running_pipeline(servers, dsn, topic_prefix, folder, world, GSC_HTTP_TOKEN=TOKEN) as running:
        root = f"http://127.0.0.1:{await running.port('producer')}"
        with httpx.Client(base_url=root, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60) as client:
            assert_tokens_are_required(client)
            assert_wrong_requests_are_refused(client)
            answer = client.post("/v1/syncs", json={**DAYS, "all": True, "request_id": "daily-1"})
            assert (answer.status_code, answer.json()["request_id"]) == (202, "daily-1")
            assert await running.finished(answer.json()["run_id"]) == {"applied": 18}
            assert_the_id_belongs_to_one_request(client)
            assert_halts_are_of_known_scopes(client)
            assert_the_run_is_reported(client)
            assert_commands_print_the_same(running, client, run_id("daily-1"))
        assert repeated(running) == 0
        assert TOKEN not in "".join(path.read_text() for path in folder.glob("*.log"))
