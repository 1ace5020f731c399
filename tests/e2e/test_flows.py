"""What Google can answer, and what becomes of it: the table of errors, on the whole pipeline."""

import asyncio
import signal
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from confluent_kafka.admin import AdminClient

from lab.call_log import repeats
from lab.scenario import Scenario
from lab.search_console.settings import Fault
from lab.servers import Servers
from pipeline.clock import now
from pipeline.contracts import codec
from pipeline.contracts.messages import Control
from pipeline.contracts.topics import CONTROL
from pipeline.publisher import Publisher
from support.pipeline import Running, read_log, run_json, running_pipeline, simulator_settings
from support.wait import until

SITES = [f"sc-domain:shop-{n}.example" if n % 2 else f"https://www.shop-{n}.example/" for n in range(1, 8)]
USERS = [f"reader-{n}@example.com" for n in range(1, 8)]
LOAD, DAILY, FORBIDDEN, MISSING, UNAUTHORIZED, REVOKED, HEALTHY = range(7)
PAGES_OF_A_PROPERTY = 9


async def test_each_budget_and_each_permission_halts_its_own_scope_and_nothing_else(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    faults = (
        Fault(kind="loadQuota", site=SITES[LOAD], count=1),
        Fault(kind="dailyLimitExceeded", site=SITES[DAILY], count=1),
        Fault(kind="forbidden", site=SITES[FORBIDDEN], count=1),
        Fault(kind="404", site=SITES[MISSING], count=1),
        Fault(kind="401", user=USERS[UNAUTHORIZED]),
    )
    world = simulator_settings(Scenario(days=3, properties=7, rows=10, full_days=False), faults=faults)
    with running_pipeline(
        servers, dsn, topic_prefix, folder, world, GSC_HTTP_TOKEN="t", GSC_MAX_CONCURRENCY="4"
    ) as running:
        port = await running.port("producer")
        running.post("revoke", {"user": USERS[REVOKED]})
        began = now()
        run = await running.request_sync(3)

        async def only_pending_left() -> bool:
            pages = await running.pages(run)
            return bool(pages) and "published" not in pages and pages.get("applied", 0) >= PAGES_OF_A_PROPERTY

        await until(only_pending_left, 60, "every page is applied, dead or pending")
        pages = await running.pages(run)
        assert pages["dead"] == 2  # one page each of the properties without permission
        assert {item.property for item in await running.differences(3)} == set(SITES) - {SITES[HEALTHY]}

        halts = {item["scope"]: item for item in run_json(running, "halts")["halts"]}
        _each_halt_has_its_scope_reason_and_end(halts, began)
        assert sum(call["site"] == SITES[MISSING] for call in running.calls()) <= 4  # what was in flight

        status = run_json(running, "status")
        assert set(status["halts"]) == set(halts)
        assert {item["state"] for item in status["partitions"]} <= {"OK", "HALTED"}
        assert any(item["state"] == "HALTED" and item["reason"] for item in status["partitions"])

        running.post("faults", [])
        running.post("revoke", {"user": USERS[REVOKED], "revoked": False})
        _resume_over_http(port, set(halts))
        assert await running.finished(run) == {"applied": 7 * PAGES_OF_A_PROPERTY - 2, "dead": 2}
        assert {item.property for item in await running.differences(3)} <= {SITES[FORBIDDEN], SITES[MISSING]}
    _lines_have_one_shape(folder)


def _each_halt_has_its_scope_reason_and_end(halts: dict[str, dict[str, Any]], began: datetime) -> None:
    assert set(halts) == {
        f"property:{SITES[LOAD]}",
        "credential:reader-2",
        f"property:{SITES[FORBIDDEN]}",
        f"property:{SITES[MISSING]}",
        "credential:reader-5",
        "credential:reader-6",
    }
    for scope in (f"property:{SITES[LOAD]}", "credential:reader-2"):
        length = datetime.fromisoformat(halts[scope]["until"]) - began
        assert timedelta(minutes=14) < length < timedelta(minutes=17)
    assert all(halts[f"property:{SITES[n]}"]["until"] is None for n in (FORBIDDEN, MISSING))
    assert "refuses" in halts["credential:reader-5"]["reason"]
    assert "expired or revoked" in halts["credential:reader-6"]["reason"]


def _resume_over_http(port: int, scopes: set[str]) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"Authorization": "Bearer t"}) as client:
        assert {halt["scope"] for halt in client.get("/v1/halts").json()["halts"]} == scopes
        for scope in scopes:
            resumed = client.delete(f"/v1/halts/{quote(scope, safe='')}", params={"reason": "fixed"})
            assert resumed.status_code == 202
        refused = client.post("/v1/halts", json={"scope": "planet:mars", "reason": "x"})
        assert refused.status_code == 400
        assert "known: all, project:ID, credential:ID" in refused.json()["detail"]
        assert refused.json()["field"] == "scope"


def _lines_have_one_shape(folder: Path) -> None:
    """As docs/operations.md promises it, whoever wrote the line."""
    every = {"timestamp", "level", "event", "logger", "service", "instance"}
    day = {"run_id", "credential", "property", "report", "search_type", "date"}
    page, message = day | {"batch_id", "start_row"}, {"topic", "partition", "offset"}
    about = {
        "run_planned": {"run_id", "request_id"},
        "halted": page | {"scope", "reason"},
        "dead_letter": page | message,
    }
    seen = set()
    for service in ("producer", "fetcher", "sink"):
        for line in read_log(folder, service):
            assert every <= set(line), line
            assert line["service"] == service
            assert about.get(line["event"], set()) <= set(line), line
            assert not {"batch_id", "start_row"} & set(line) or page <= set(line), line
            seen.add(line["event"])
    assert set(about) <= seen


async def test_an_unreadable_control_record_is_a_halt_and_quota_answers_are_told(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    faults = (Fault(kind="userRateLimitExceeded", count=2, retry_after=1),)
    world = simulator_settings(Scenario(days=2, rows=10, full_days=False), faults=faults)
    with running_pipeline(servers, dsn, topic_prefix, folder, world) as running:
        publisher = Publisher(running.setup.kafka, "test")
        topic = CONTROL.full_name(topic_prefix)
        await publisher.publish(topic, f"property:{SITES[0]}", b'{"type": "control", "v": 9}')
        run = await running.request_sync(2)
        await running.applied(run, 6)
        [halt] = run_json(running, "halts")["halts"]
        assert (halt["scope"], halt["reason"][:25]) == (f"property:{SITES[0]}", "unreadable control record")
        assert {call["site"] for call in running.calls()} == {SITES[1]}
        resumed = Control(scope=halt["scope"], state="running", reason="fixed", actor="test", at=now())
        await publisher.publish(topic, resumed.scope, codec.encode(resumed))
        await publisher.close()
        assert await running.finished(run) == {"applied": 12}
    assert [line["retry_after"] for line in read_log(folder, "fetcher", "quota_refused")] == [1.0, 1.0]


async def test_the_http_batch_fetches_the_same_rows(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    world = simulator_settings(
        Scenario(days=6, rows=100), faults=(Fault(kind="500", count=2), Fault(kind="quotaExceeded", count=1))
    )
    with running_pipeline(servers, dsn, topic_prefix, folder, world, GSC_TRANSPORT="batch") as running:
        run = await running.request_sync(6)
        assert set(await running.finished(run)) == {"applied"}
        assert await running.differences(6) == []
        calls = running.calls()
        assert all(call["in_batch"] for call in calls)
        assert len(calls) == 6 * 2 * 3 + 6 + 3


async def test_a_fetcher_that_was_frozen_calls_nothing_before_it_owns_again(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    """Frozen for longer than its session, it is thrown out of the group; after the thaw its lease has run out."""
    world = simulator_settings(Scenario(days=30, rows=10, latency_s=2.0, credentials=1, full_days=False))
    with running_pipeline(servers, dsn, topic_prefix, folder, world, GSC_MAX_CONCURRENCY="2") as running:
        run = await running.request_sync(30)
        await running.applied(run, 2)
        # With every call under way, none has been decided that is not yet sent.
        await until(lambda: sum(call["finished"] is None for call in running.calls()) == 2, 60, "two calls under way")
        fetcher = running.services.processes["fetcher"]
        fetcher.signal(signal.SIGSTOP)
        frozen = now()
        group = f"{topic_prefix}.fetcher"

        def thrown_out() -> bool:
            return not members(running, group)

        await until(thrown_out, 60, "the broker has thrown the member out")
        thawed = now()
        fetcher.signal(signal.SIGCONT)
        await running.applied(run, 8)
        moves = [
            (datetime.fromisoformat(line["timestamp"]), line["kind"])
            for line in read_log(folder, "fetcher", "partitions")
        ]
        owned_again = min(moment for moment, kind in moves if moment > thawed and kind == "assigned")
        arrivals = [datetime.fromtimestamp(call["at"], tz=thawed.tzinfo) for call in running.calls()]
        early = [moment for moment in arrivals if frozen < moment < owned_again]
        assert not early, (frozen, thawed, moves)
        assert any(moment > owned_again for moment in arrivals)


def members(running: Running, group: str) -> int:
    """How many members the broker knows."""
    admin = AdminClient(running.setup.kafka)  # which must outlive the question
    return len(admin.describe_consumer_groups([group])[group].result(10).members)


async def test_the_classic_group_protocol_through_a_join_and_a_leave(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    world = simulator_settings(Scenario(days=25, properties=4, rows=10, latency_s=0.2, full_days=False))
    classic = {"GSC_KAFKA_GROUP_PROTOCOL": "classic", "GSC_SESSION_TIMEOUT_S": "6"}
    with running_pipeline(servers, dsn, topic_prefix, folder, world, GSC_MAX_CONCURRENCY="1", **classic) as running:
        run = await running.request_sync(25)
        await running.applied(run, 10)
        first = running.services.processes["fetcher"]
        second = running.services.start("fetcher")
        running.services.processes["fetcher-1"] = first
        await until(lambda: members(running, f"{topic_prefix}.fetcher") == 2, 60, "a second member has joined")
        await running.applied(run, 60)
        assert first.stop() == 0
        del running.services.processes["fetcher-1"]
        assert await running.finished(run) == {"applied": 300}
        assert await running.differences(25) == []
        assert second.running
        assert repeats(running.calls(), 0.0, float("inf")) == 0


async def test_a_fatal_error_of_the_client_ends_the_process(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    """Two members of one static id: the broker fences the first."""
    world = simulator_settings(Scenario(days=3, rows=10, full_days=False))
    one = {
        "GSC_KAFKA_GROUP_PROTOCOL": "classic",
        "GSC_KAFKA_GROUP_INSTANCE_ID": "the-one",
        "GSC_SESSION_TIMEOUT_S": "6",
    }
    with running_pipeline(servers, dsn, topic_prefix, folder, world) as running:
        running.services.processes["sink"].stop()
        first = running.services.start("sink", **one)
        assert await running.finished(await running.request_sync(3)) == {"applied": 18}
        running.services.start("sink", **one)
        await until(lambda: not first.running, 60, "the first has ended")
        assert first.wait() == 1
        assert "fenced" in read_log(folder, "sink", "failed")[0]["error"]
        assert await running.finished(await running.request_sync(3)) == {"applied": 18}


async def test_status_tells_what_a_partition_waits_for_and_until_when(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    world = simulator_settings(Scenario(days=100, properties=1, rows=10, full_days=False))
    slow = {"GSC_USER_QPM": "60", "GSC_BURST": "1"}
    with running_pipeline(servers, dsn, topic_prefix, folder, world, **slow) as running:
        run = await running.request_sync(100)
        await running.applied(run, 2)

        async def partition_in(state: str) -> dict[str, Any]:
            found: list[dict[str, Any]] = []

            async def is_listed() -> bool:
                partitions = (await asyncio.to_thread(run_json, running, "status"))["partitions"]
                found.extend(item for item in partitions if item["state"] == state)
                return bool(found)

            await until(is_listed, 120, f"a partition is {state}")
            return found[0]

        waiting = await partition_in("THROTTLED")
        assert waiting["reason"] == "credential reader-1: 46 calls a minute"
        assert datetime.fromisoformat(waiting["until"]) > datetime.fromisoformat(waiting["reported_at"])
        running.services.processes["fetcher"].kill()
        assert "has not committed for" in (await partition_in("STALLED"))["reason"]


async def test_every_metric_that_a_service_promises_is_there_and_true(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    world = simulator_settings(Scenario(days=5, rows=10, full_days=False))
    with running_pipeline(servers, dsn, topic_prefix, folder, world) as running:
        ports = await running.ports()
        assert await running.finished(await running.request_sync(5)) == {"applied": 30}

        def scraped(name: str) -> dict[str, float]:
            text = httpx.get(f"http://127.0.0.1:{ports[name]}/metrics").raise_for_status().text
            lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
            return {series: float(value) for series, _, value in lines}

        def observed() -> bool:
            """Each of these is read from the ledger or from Kafka at a time of its own."""
            producer = scraped("producer")
            lag = sum(value for name, value in producer.items() if name.startswith("gsc_lag_messages"))
            is_empty = not [name for name in producer if name.startswith("gsc_pending_pages{")]
            return producer.get('gsc_ledger_pages{state="applied"}') == 30 and lag == 0 and is_empty

        await until(observed, 60, "the producer has read the ledger")
        producer, fetcher, sink = scraped("producer"), scraped("fetcher"), scraped("sink")
    assert sum(value for name, value in producer.items() if name.startswith("gsc_lag_messages")) == 0
    assert sum(value for name, value in producer.items() if name.startswith("gsc_partition_state")) == 12
    assert producer['gsc_partition_state{partition="0",state="OK"}'] == 1
    assert producer['gsc_ledger_days{kind="complete"}'] == 30
    assert producer['gsc_drain_seconds{pace="quota"}'] == 0
    assert not [name for name in producer if name.startswith(("gsc_pending_pages{", "gsc_oldest_pending_seconds{"))]
    assert (
        producer['gsc_newest_day_age_days{series="last"}'] == producer['gsc_newest_day_age_days{series="middle"}'] > 0
    )
    assert producer["gsc_pages_published_total"] == 30
    assert sum(value for name, value in fetcher.items() if name.startswith("gsc_calls_last_minute{")) == 30
    assert fetcher['gsc_calls_total{credential="reader-1",outcome="done"}'] == 15
    assert round(fetcher['gsc_calls_allowed_per_minute{credential="reader-1"}']) == 936
    assert fetcher["gsc_property_calls_last_minute_max"] == 15
    assert 0.015 < fetcher["gsc_property_utilisation_max"] < 0.02
    assert fetcher['gsc_wait_seconds_total{reason="http"}'] > 0
    assert fetcher["gsc_page_seconds_count"] == fetcher["gsc_call_seconds_count"] == 30
    assert fetcher["gsc_calls_in_flight"] == fetcher["gsc_batches_uncommitted"] == 0
    assert sink["gsc_pages_applied_total"] == 30
    assert sink["gsc_days_completed_total"] == 30
