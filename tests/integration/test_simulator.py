"""The simulator over HTTP: its call log, its faults, and its answers to invalid input."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from lab.search_console.server import Simulator
from lab.search_console.settings import Fault, FaultKind, SimulatorSettings, Site, User
from pipeline.clock import now
from pipeline.pacific import pacific_date
from support.simulator import serving

DAY = str(pacific_date(now()) - timedelta(days=10))
ASKED = {"startDate": DAY, "endDate": DAY, "dimensions": ["date"]}
SITES = "/webmasters/v3/sites"
QUERY = f"{SITES}/sc-domain%3Aa.com/searchAnalytics/query"
USER = "ann@example.com"


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    site = Site(url="sc-domain:a.com", users=(USER,), rows=40)
    settings = SimulatorSettings(sites=(site,), users=(User(id=USER, kind="authorized_user"),))
    with serving(settings) as running:
        yield running


@pytest.fixture
def client(simulator: Simulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=simulator.root, timeout=10) as opened:
        yield opened


def granted(client: httpx.Client, **more: str) -> httpx.Response:
    info = client.get(f"/_sim/credentials/{USER}").raise_for_status().json()
    return client.post("/token", data={"grant_type": "refresh_token", **info, **more})


@pytest.fixture
def bearer(client: httpx.Client) -> dict[str, str]:
    return {"Authorization": f"Bearer {granted(client).json()['access_token']}"}


def read_log(client: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    text = client.get("/_sim/log", params=query).raise_for_status().text
    return [json.loads(line) for line in text.splitlines()]


def test_every_call_is_logged_and_queries_are_counted_separately(client: httpx.Client, bearer: dict[str, str]) -> None:
    assert client.post(QUERY, json=ASKED, headers=bearer).status_code == 200
    assert client.get(SITES, headers=bearer).status_code == 200
    assert client.get(SITES).status_code == 401
    assert client.post(QUERY, json={}, headers=bearer).status_code == 400
    assert [(call["kind"], call["user"], call["status"]) for call in read_log(client, kind="all")] == [
        ("token", USER, 200),
        ("query", USER, 200),
        ("sites", USER, 200),
        ("sites", "", 401),
        ("query", USER, 400),
    ]
    assert [call["status"] for call in read_log(client)] == [200, 400]
    assert [call["status"] for call in read_log(client, since=1)] == [400]
    assert [call["status"] for call in read_log(client, kind="all", since=3)] == [401, 400]
    assert all(call["arrived"] <= call["finished"] for call in read_log(client, kind="all"))
    assert client.get("/_sim/stats").json()["calls"] == 2


@pytest.mark.parametrize(("kind", "status"), [("429", 429), ("503", 503), ("forbidden", 403), ("400", 400)])
def test_faults_apply_to_the_list_of_sites_and_to_tokens(
    simulator: Simulator, client: httpx.Client, bearer: dict[str, str], kind: FaultKind, status: int
) -> None:
    faults = (
        Fault(kind=kind, on="sites", count=1, retry_after=7),
        Fault(kind=kind, on="token", count=1, retry_after=7),
    )
    simulator.engine.faults.replace(faults)
    assert client.post(QUERY, json=ASKED, headers=bearer).status_code == 200
    refused = client.get(SITES, headers=bearer)
    assert (refused.status_code, refused.headers["retry-after"]) == (status, "7")
    assert refused.json()["error"]["code"] == status
    ungranted = granted(client)
    assert (ungranted.status_code, ungranted.headers["retry-after"]) == (status, "7")
    assert isinstance(ungranted.json()["error"], str)
    assert client.get(SITES, headers=bearer).status_code == granted(client).status_code == 200


@pytest.mark.parametrize("on", ["query", "sites", "token"])
@pytest.mark.parametrize(
    "kind", ["reset", "truncated", "truncated_gzip", "content_type", "invalid_json", "wrong_shape"]
)
def test_every_fault_works_on_every_endpoint(
    simulator: Simulator, client: httpx.Client, bearer: dict[str, str], on: Any, kind: FaultKind
) -> None:
    def called() -> httpx.Response:
        if on == "query":
            return client.post(QUERY, json=ASKED, headers=bearer)
        return client.get(SITES, headers=bearer) if on == "sites" else granted(client)

    assert called().json().keys().isdisjoint({"error", "token"})
    simulator.engine.faults.replace((Fault(kind=kind, on=on, user=USER),))
    try:
        answer = called()
    except (httpx.RemoteProtocolError, httpx.ReadError, httpx.DecodingError):
        assert kind in ("reset", "truncated", "truncated_gzip")
        return
    assert answer.status_code == 200
    if kind == "content_type":
        assert answer.headers["content-type"] == "text/html"
    elif kind == "wrong_shape":
        wrong = {"query": {"rows": [{"keys": 7}]}, "sites": {"siteEntry": [7]}, "token": {"token": 7}}
        assert answer.json() == wrong[on]
    else:
        with pytest.raises(ValueError, match=r"(?i)expecting|unterminated|delimiter"):
            answer.json()


@pytest.mark.parametrize("on", ["query", "sites", "token"])
def test_a_stall_counts_as_part_of_the_call(
    simulator: Simulator, client: httpx.Client, bearer: dict[str, str], on: Any
) -> None:
    simulator.engine.faults.replace((Fault(kind="stall", on=on, seconds=0.3),))
    client.post(QUERY, json=ASKED, headers=bearer).raise_for_status()
    client.get(SITES, headers=bearer).raise_for_status()
    granted(client).raise_for_status()
    stalled = [call for call in read_log(client, kind="all") if call["finished"] - call["arrived"] >= 0.3]
    assert [(call["kind"], call["fault"]) for call in stalled if call["fault"]] == [(on, "stall")]


@pytest.mark.parametrize("path", [QUERY, "/batch"])
@pytest.mark.parametrize("kind", ["stall_body", "trickle"])
def test_a_slow_body_follows_its_headers_and_arrives_completely(
    simulator: Simulator, client: httpx.Client, bearer: dict[str, str], kind: FaultKind, path: str
) -> None:
    part = f"--b\r\nContent-ID: <1>\r\n\r\nPOST {QUERY} HTTP/1.1\r\n\r\n{json.dumps(ASKED)}\r\n--b--\r\n"
    content = json.dumps(ASKED) if path == QUERY else part
    headers = {**bearer, "Content-Type": "multipart/mixed; boundary=b"}
    whole = client.post(path, content=content, headers=headers)
    simulator.engine.faults.replace((Fault(kind=kind, seconds=0.5),))
    with client.stream("POST", path, content=content, headers=headers) as response:
        [called] = [call for call in read_log(client) if call["fault"]]
        pieces = [piece for piece in response.iter_raw() if piece]
    assert (called["fault"], response.status_code, len(pieces)) == (kind, 200, 2 if kind == "stall_body" else 3)
    assert sum(map(len, pieces)) == int(response.headers["content-length"]) == int(whole.headers["content-length"])
    assert response.elapsed.total_seconds() >= 0.5


def test_a_fault_for_one_user_does_not_affect_another_users_token(simulator: Simulator, client: httpx.Client) -> None:
    simulator.engine.faults.replace((Fault(kind="503", on="token", user="bob"),))
    assert granted(client).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (QUERY, b"{"),
        (QUERY, b"\xff"),
        (QUERY, b'{"dimensions": 5}'),
        (QUERY, json.dumps({**ASKED, "dimensionFilterGroups": [{"filters": [None]}]}).encode()),
        (QUERY.replace("sc-domain%3Aa.com", "https%3A%2F%2Fa.com"), json.dumps(ASKED).encode()),
        ("/batch", b""),
        ("/batch", b"\xff\xfe"),
        ("/token", b"\xff=%ff&assertion=x.y.z"),
        ("/v1/token", b"\x00"),
    ],
)
def test_invalid_input_is_a_bad_request(client: httpx.Client, bearer: dict[str, str], path: str, body: bytes) -> None:
    for content_type in ("application/json", "application/x-www-form-urlencoded", "multipart/mixed; boundary=x"):
        answer = client.post(path, content=body, headers={**bearer, "Content-Type": content_type})
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]


def test_hourly_data_is_available_for_ten_days(client: httpx.Client, bearer: dict[str, str]) -> None:
    def rows(days: int) -> int:
        day = str(pacific_date(now()) - timedelta(days=days))
        body = {"startDate": day, "endDate": day, "dimensions": ["hour"], "dataState": "hourly_all", "rowLimit": 100}
        return len(client.post(QUERY, json=body, headers=bearer).raise_for_status().json().get("rows", []))

    assert sum(rows(days) for days in range(1, 10)) > 100
    assert sum(rows(days) for days in range(12, 20)) == 0


def test_a_token_endpoint_returns_oauth_errors(simulator: Simulator, client: httpx.Client) -> None:
    readonly = "https://www.googleapis.com/auth/webmasters.readonly"
    assert granted(client, scope=readonly).status_code == 200
    assert granted(client, scope=f"{readonly} openid").json()["error"] == "invalid_scope"
    simulator.engine.tokens.revoked.add(USER)
    assert granted(client).json() == {
        "error": "invalid_grant",
        "error_description": "Token has been expired or revoked.",
    }


PARTS = {
    "good": f"POST {QUERY}?alt=json HTTP/1.1\r\n\r\n{json.dumps(ASKED)}".encode(),
    "sites": f"GET {SITES} HTTP/1.1\r\n\r\n".encode(),
    "no-json": f"POST {QUERY} HTTP/1.1\r\n\r\n{{".encode(),
    "bytes-in-body": f"POST {QUERY} HTTP/1.1\r\n\r\n".encode() + b"\xff\xfe",
    "bytes-in-head": b"POST /\xff\xfe HTTP/1.1\r\n\r\n{}",
    "empty": b"",
    "elsewhere": b"GET /elsewhere HTTP/1.1\r\n\r\n",
    "stranger": f"POST {QUERY} HTTP/1.1\r\nAuthorization: Bearer x\r\n\r\n{json.dumps(ASKED)}".encode(),
}
FATES = {
    "good": 200, "sites": 200, "no-json": 400, "bytes-in-body": 400, "bytes-in-head": 400, "empty": 400,
    "elsewhere": 404, "stranger": 401,
}  # fmt: skip


def test_each_part_of_a_batch_has_its_own_status(client: httpx.Client, bearer: dict[str, str]) -> None:
    body = b"".join(
        b"--x\r\nContent-Type: application/http\r\nContent-ID: <%s>\r\n\r\n%s\r\n" % (name.encode(), part)
        for name, part in PARTS.items()
    )
    headers = {**bearer, "Content-Type": "multipart/mixed; boundary=x"}
    answer = client.post("/batch", content=body + b"--x--\r\n", headers=headers).raise_for_status()
    statuses = {}
    for part in answer.text.split("--batch_answer")[1:-1]:
        outer, inner, text = part.split("\r\n\r\n", 2)
        name = outer.partition("<response-")[2].partition(">")[0]
        statuses[name] = int(inner.split()[1])
        assert statuses[name] == 200 or json.loads(text)["error"]["code"] == statuses[name]
    assert statuses == FATES
    assert all(call["in_batch"] for call in read_log(client, kind="all")[1:])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("settings", "{"), ("settings", '{"latency_s": "x"}'), ("settings", '{"users": []}'), ("settings", "[]"),
        ("faults", '[{"kind": "plague"}]'), ("revise", "{}"), ("revise", "7"), ("revoke", "[]"),
    ],
)  # fmt: skip
def test_invalid_control_requests_are_refused(client: httpx.Client, path: str, body: str) -> None:
    answer = client.post(f"/_sim/{path}", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize(
    "path", ["log?since=x", "log?kind=x", "truth", f"truth?site=x&date={DAY}", "credentials/x", "subject-token/x"]
)
def test_invalid_queries_of_the_control_api_are_refused(client: httpx.Client, path: str) -> None:
    assert client.get(f"/_sim/{path}").status_code == 400


def test_changed_settings_change_the_answers(client: httpx.Client, bearer: dict[str, str]) -> None:
    def rows() -> Any:
        body = {**ASKED, "dimensions": ["query"]}
        return client.post(QUERY, json=body, headers=bearer).raise_for_status().json().get("rows", [])

    before = rows()
    client.post("/_sim/settings", json={"seed": 2, "token_lifetime_s": 5}).raise_for_status()
    assert rows() != before
    assert granted(client).json()["expires_in"] == 5
