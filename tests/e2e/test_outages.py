"""Faults and what they belong to, on a running pipeline: access token, API, page, key file, permission."""

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab.database import create_database, drop_database
from lab.scenario import Scenario
from lab.servers import Servers
from support.pipeline import Running, read_log, run_json, running_pipeline, simulator_settings
from support.wait import until

SITES_OF_A_CREDENTIAL = 12
PAGES_OF_A_DAY = 2 * SITES_OF_A_CREDENTIAL * 3
OTHER = "reader-2@example.com"
pytestmark = pytest.mark.xdist_group("outages")
SCENARIO = Scenario(
    days=4, properties=2 * SITES_OF_A_CREDENTIAL, credentials=2, rows=10, latency_s=0.1, full_days=False
)


@pytest.fixture(scope="module")
def running(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    name, folder = f"test_{uuid.uuid4().hex}", tmp_path_factory.mktemp("outages")
    dsn = create_database(servers.dsn, name)
    with running_pipeline(
        servers, dsn, f"t{uuid.uuid4().hex[:12]}", folder, simulator_settings(SCENARIO), GSC_MAX_ATTEMPTS="3"
    ) as pipeline:
        yield pipeline
    drop_database(servers.dsn, name)


@pytest.fixture(autouse=True)
def no_faults(running: Running) -> Iterator[None]:
    yield
    running.post("faults", [])
    running.post("settings", {"token_lifetime_s": 600, "token_promise_s": None})


async def halts(running: Running) -> dict[str, Any]:
    listed = await asyncio.to_thread(run_json, running, "halts")
    return {item["scope"]: item for item in listed["halts"]}


def tokens_issued(running: Running) -> int:
    return sum(call["kind"] == "token" and call["status"] == 200 for call in all_calls(running))


def all_calls(running: Running) -> list[dict[str, Any]]:
    log = httpx.get(f"{running.simulator.root}/_sim/log", params={"kind": "all"}, timeout=60).raise_for_status()
    return [json.loads(line) for line in log.text.splitlines()]


async def test_tokens_that_are_refused_earlier_than_promised_are_replaced_and_work_goes_on(running: Running) -> None:
    running.post("settings", {"token_lifetime_s": 4, "token_promise_s": 3600})
    running.post("expire-tokens", {})
    before = tokens_issued(running)
    run = await running.request_sync(4)
    await running.applied(run, 5)
    running.post("expire-tokens", {})  # while calls are made with them
    assert await running.finished(run) == {"applied": 4 * PAGES_OF_A_DAY}
    refused = sum(call["status"] == 401 for call in running.calls())
    assert 0 < refused <= 32 * (tokens_issued(running) - before)  # of each token at most the calls in flight
    assert await halts(running) == {}


async def test_tokens_of_a_short_life_are_shared_by_calls(running: Running) -> None:
    running.post("settings", {"token_lifetime_s": 5, "token_promise_s": None})
    running.post("expire-tokens", {})
    before = tokens_issued(running)
    run = await running.request_sync(2)
    assert await running.finished(run) == {"applied": 2 * PAGES_OF_A_DAY}
    assert 0 < tokens_issued(running) - before < PAGES_OF_A_DAY / 2


async def test_an_outage_of_twenty_seconds_costs_no_page_and_few_calls(running: Running) -> None:
    run = await running.request_sync(3)
    await running.applied(run, 10)
    running.post("faults", [{"kind": "503"}])

    def open_circuits() -> set[str]:
        return {line["credential"] for line in read_log(running.setup.folder, "fetcher", "circuit_opened")}

    await until(lambda: len(open_circuits()) == 2, 40, "the circuits are open")

    async def status_says_why() -> bool:
        status = await asyncio.to_thread(run_json, running, "status")
        return any("calls fail (http_503), one tries now and then" in item["reason"] for item in status["partitions"])

    await until(status_says_why, 60, "the status says what is waited for")
    running.post("faults", [{"kind": "reset"}])
    before = len(running.calls())
    await asyncio.sleep(10)
    assert len(running.calls()) - before < 20
    running.post("faults", [])
    assert await running.finished(run) == {"applied": 3 * PAGES_OF_A_DAY}
    assert await asyncio.to_thread(run_json, running, "dead-letters", "list") == []
    assert await halts(running) == {}
    events = [line["event"] for line in read_log(running.setup.folder, "fetcher")]
    assert "circuit_opened" in events
    assert "circuit_closed" in events


async def test_pages_that_fail_while_others_succeed_are_dead_letters(running: Running) -> None:
    """One property fails at Google, and two others behind a proxy."""
    failures = {
        "sc-domain:shop-1.example": ("500", "http_500"),
        "sc-domain:shop-3.example": ("proxy_403", "http_403 without an error of Google"),
        "sc-domain:shop-5.example": ("content_type", "http_200 that is not JSON: content type 'text/html'"),
    }
    running.post("faults", [{"kind": kind, "site": site} for site, (kind, _) in failures.items()])
    run = await running.request_sync(1)
    assert await running.finished(run) == {"applied": PAGES_OF_A_DAY - 9, "dead": 9}
    letters = await asyncio.to_thread(run_json, running, "dead-letters", "list")
    assert {letter["reason"] for letter in letters} == {"attempts_exhausted"}
    assert {letter["property"]: letter["error"] for letter in letters} == {
        site: error for site, (_, error) in failures.items()
    }
    assert await halts(running) == {}


async def test_the_answers_of_a_proxy_halt_nothing_and_delay_no_other_credential(running: Running) -> None:
    before = len(await asyncio.to_thread(run_json, running, "dead-letters", "list"))
    running.post("faults", [{"kind": "proxy_403", "user": OTHER}])
    run = await running.request_sync(1)
    await running.applied(run, PAGES_OF_A_DAY // 2)  # those of the other credential
    running.post("faults", [{"kind": "proxy_404", "user": OTHER, "count": 2}])
    assert await running.finished(run) == {"applied": PAGES_OF_A_DAY}
    assert len(await asyncio.to_thread(run_json, running, "dead-letters", "list")) == before
    assert await halts(running) == {}


async def test_a_broken_key_file_halts_its_credential_until_it_is_repaired_and_resumed(running: Running) -> None:
    file = Path(running.setup.catalog).with_name("reader-2.json")
    content = file.read_text()
    file.write_text("{}")
    run = await running.request_sync(1)
    await running.applied(run, PAGES_OF_A_DAY // 2)

    async def is_halted() -> bool:
        return set(await halts(running)) == {"credential:reader-2"}

    await until(is_halted, 60, "the credential is halted")
    halt = (await halts(running))["credential:reader-2"]
    assert halt["cause"] == "credential"
    assert f"{file}: client_id: missing" in halt["reason"]
    checked = await asyncio.to_thread(run_json, running, "check", code=1)
    problems = {item["credential"]: item["problem"] for item in checked["checks"] if item["credential"]}
    assert "client_id: missing" in problems["reader-2"]
    assert problems["reader-1"] is None
    # A fetcher that starts now works for the rest, too.
    running.services.processes["fetcher"].stop()
    running.services.start("fetcher")
    file.write_text(content)
    await asyncio.to_thread(run_json, running, "resume", "credential:reader-2")
    assert await running.finished(run) == {"applied": PAGES_OF_A_DAY}
    assert await halts(running) == {}


async def test_a_credential_that_loses_its_permissions_is_halted_once_and_resumed_once(running: Running) -> None:
    running.post("faults", [{"kind": "forbidden", "user": OTHER}])
    run = await running.request_sync(1)
    await running.applied(run, PAGES_OF_A_DAY // 2)

    async def is_halted() -> bool:
        return set(await halts(running)) == {"credential:reader-2"}

    await until(is_halted, 60, "the credential is halted, and its properties no more")
    halt = (await halts(running))["credential:reader-2"]
    assert halt["cause"] == "permission"
    assert "no permission for 1" in halt["reason"]
    running.post("faults", [])
    resumed = await asyncio.to_thread(run_json, running, "resume", "--cause", "permission")
    assert [item["scope"] for item in resumed["halts"]] == ["credential:reader-2"]
    pages = await running.finished(run)
    assert pages["applied"] + pages["dead"] == PAGES_OF_A_DAY
    assert pages["dead"] <= SITES_OF_A_CREDENTIAL
    assert await halts(running) == {}
