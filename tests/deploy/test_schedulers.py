"""The examples of docs/schedulers, run as far as one machine can: by Airflow, by cron's shell, as the job's command."""

import asyncio
import fcntl
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import kubernetes_validate
import pytest
import yaml
from croniter import croniter

from lab.processes import free_port, inherited_environment
from lab.scenario import Scenario
from lab.servers import Servers
from pipeline.clock import now
from pipeline.contracts import codec
from pipeline.contracts.identity import run_id
from pipeline.pacific import pacific_date
from pipeline.publisher import open_publisher
from producer.sync_request import build_request
from support.airflow import dag_runs
from support.chart import MINORS, assert_restricted, pods
from support.pipeline import COMMAND, Running, query, read_log, run_json, running_pipeline, simulator_settings
from support.tools import flock
from support.wait import until

EXAMPLES = Path(__file__).parents[2] / "docs" / "schedulers"
TOKEN = "sesame"
WORLD = Scenario(days=16, rows=10, full_days=False)
PAGES_OF_A_DAY = 2 * 3
"""Two properties in three reports."""
PAGES = 8 * PAGES_OF_A_DAY
"""Eight of the last ten days are final."""


@pytest.fixture
def running(servers: Servers, dsn: str, topic_prefix: str, folder: Path) -> Iterator[Running]:
    world = simulator_settings(WORLD)
    with running_pipeline(servers, dsn, topic_prefix, folder, world, GSC_HTTP_TOKEN=TOKEN) as pipeline:
        yield pipeline


@pytest.fixture
async def producer(running: Running) -> str:
    """Where the producer of the pipeline takes requests."""
    return f"http://127.0.0.1:{await running.port('producer')}"


def replaced(text: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


async def accepted(folder: Path, count: int) -> list[bool]:
    """Whether each accepted request was a new one, when the producer has accepted `count`."""
    await until(lambda: len(read_log(folder, "producer", "request_accepted")) >= count, 60, f"{count} are accepted")
    return [line["new"] for line in read_log(folder, "producer", "request_accepted")]


async def planned_pages(folder: Path, count: int) -> list[int]:
    """The pages of each run, when the producer has planned `count`."""
    await until(lambda: len(read_log(folder, "producer", "run_planned")) >= count, 60, f"{count} runs are planned")
    return [line["pages"] for line in read_log(folder, "producer", "run_planned")]


async def request_ids(running: Running) -> list[str]:
    rows = await query(running.setup.servers.dsn, "select request->>'request_id' from gsc.runs order by 1")
    return [row[0] for row in rows]


def write_dags(running: Running, folder: Path) -> None:
    """The two examples, and one of them with a Kafka that is not there."""
    http, kafka = ((EXAMPLES / f"gsc_stream_{way}.py").read_text() for way in ("http", "kafka"))
    kafka = replaced(kafka, {'"gsc.sync-': f'"{running.setup.prefix}.sync-'})
    nowhere = replaced(kafka, {'"gsc_stream_kafka"': '"nowhere"', '"retries": 3': '"retries": 0'})
    folder.mkdir()
    for name, dag in {"http": http, "kafka": kafka, "nowhere": nowhere}.items():
        (folder / f"{name}.py").write_text(dag)


def connections(running: Running, producer: str) -> dict[str, dict[str, object]]:
    nowhere = {"bootstrap.servers": f"127.0.0.1:{free_port()}", "message.timeout.ms": 1000}
    return {
        "gsc_stream": {"conn_type": "http", "host": producer, "extra": {"Authorization": f"Bearer {TOKEN}"}},
        "gsc_stream_kafka": {"conn_type": "kafka", "extra": dict(running.setup.kafka)},
        "nowhere": {"conn_type": "kafka", "extra": nowhere},
    }


async def test_airflow_asks_once_for_a_day_and_tells_what_went_wrong(
    running: Running, producer: str, folder: Path
) -> None:
    write_dags(running, folder / "dags")
    today, yesterday, before = (now() - timedelta(days=age) for age in range(3))
    ids = [f"airflow-{pacific_date(moment)}-10" for moment in (today, yesterday, before)]
    expected = [
        ("gsc_stream_http", before, "failed"),  # a page is dead
        ("gsc_stream_http", today, "success"),
        ("gsc_stream_http", today, "success"),  # again
        ("gsc_stream_kafka", today, "success"),  # the same request by the other door
        ("gsc_stream_kafka", yesterday, "success"),
        ("nowhere", today, "failed"),
    ]
    running.post("faults", [{"kind": "400", "count": 1}])
    runs = [f"{dag}@{moment.isoformat()}" for dag, moment, _ in expected]
    states = await asyncio.to_thread(dag_runs, folder, connections(running, producer), runs)
    assert states == [state for *_, state in expected]
    late = PAGES + 2 * PAGES_OF_A_DAY  # asked two days later by HTTP, when two more days are final
    assert await accepted(folder, 5) == [True, True, False, False, True]
    assert await planned_pages(folder, 3) == [late, PAGES, PAGES]
    assert await running.finished(run_id(ids[0])) == {"applied": PAGES}
    assert await running.finished(run_id(ids[1])) == {"applied": PAGES}
    assert await running.finished(run_id(ids[2])) == {"applied": late - 1, "dead": 1}
    assert await request_ids(running) == sorted(ids)
    assert len(running.calls()) == late + 2 * PAGES
    assert [letter["reason"] for letter in run_json(running, "dead-letters", "list")] == ["bad_request"]


async def test_a_status_of_http_or_a_dead_letter_tells_what_is_wrong(running: Running, producer: str) -> None:
    day = str(pacific_date(now()) - timedelta(days=5))
    body = {"request_id": "r", "all": True, "start": day, "end": day}
    statuses = {
        202: body,
        400: {**body, "nope": 1},
        422: {**body, "all": False, "properties": ["sc-domain:nobody.example"]},
    }
    with httpx.Client(base_url=producer, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        for status, sent in statuses.items():
            assert client.post("/v1/syncs", json=sent).status_code == status
        assert client.post("/v1/syncs", json=body, headers={"Authorization": ""}).status_code == 401
        assert client.get("/v1/runs/nobody").status_code == 404
        assert await running.finished(run_id("r")) == {"applied": PAGES_OF_A_DAY}
        other = {**body, "reports": ["by_date"]}
        assert client.post("/v1/syncs", json=other).status_code == 409
        request = build_request(other, now=now(), today=pacific_date(now()), requested_by="test")
        async with open_publisher(running.setup.kafka, "test") as publisher:
            await publisher.publish(f"{running.setup.prefix}.sync-requests", "r", codec.encode(request))

        async def dead_lettered() -> bool:
            dead_letters = await asyncio.to_thread(
                run_json, running, "dead-letters", "list", "--reason", "invalid_request"
            )
            return [item["error"] for item in dead_letters] == [
                "request_id: another request has used the id 'r' before"
            ]

        await until(dead_lettered, 60, "the other request is in the dead letters")
        assert client.get(f"/v1/runs/{run_id('r')}").json()["pages"] == {"applied": PAGES_OF_A_DAY}
    assert await request_ids(running) == ["r"]


def crontab(changes: Mapping[str, str]) -> tuple[dict[str, str], str, str]:
    """Variables, times and command, as cron reads them."""
    variables, lines = {}, []
    for line in replaced((EXAMPLES / "crontab").read_text(), changes).splitlines():
        name, is_variable, value = line.partition("=")
        if line.startswith("#"):
            continue
        if is_variable and name.isidentifier():
            variables[name] = value
        else:
            lines.append(line)
    (line,) = lines
    *times, command = line.split(maxsplit=5)
    assert "%" not in command  # cron makes it the end of the line
    return variables, " ".join(times), command


def the_job() -> dict[str, Any]:
    job: dict[str, Any] = yaml.safe_load((EXAMPLES / "cronjob.yaml").read_text())
    return job


def of_container(running: Running, catalog: Path) -> dict[str, str]:
    """The container's environment, and nothing but that."""
    known = {**running.setup.environment, "GSC_CATALOG": str(catalog)}
    (pod,) = pods([the_job()]).values()
    names = [variable["name"] for variable in pod["containers"][0]["env"]]
    return inherited_environment() | {name: known[name] for name in names} | {"GSC_TOPIC_PREFIX": running.setup.prefix}


async def ended(*command: str, **environment: str) -> tuple[int, str]:
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, stdout=subprocess.PIPE, text=True, check=False, timeout=240
    )
    return done.returncode, done.stdout


async def test_cron_and_the_job_ask_at_once_for_one_run(running: Running, folder: Path) -> None:
    flock.path()
    log, settings = folder / "sync.log", folder / "env"
    places = {
        "/opt/gsc-stream/bin": str(COMMAND.parent),
        "/etc/gsc-stream/env": str(settings),
        "/var/log/gsc-stream/sync.log": str(log),
    }
    variables, _, line = crontab(places)

    async def by_cron() -> tuple[int, str]:
        return await ended(variables["SHELL"], "-c", line, HOME=str(folder), **variables)

    settings.write_text("GSC_CATALOG=catalog.yaml\n")
    assert await by_cron() == (0, f"gsc-stream sync: exit 2, see {log}\n")
    assert "GSC_POSTGRES_DSN: missing" in log.read_text()

    lines = [f"{name}={shlex.quote(value)}\n" for name, value in running.setup.environment.items()]
    settings.write_text("".join(lines))
    catalog = folder / "job" / "catalog.yaml"  # without the files of the credentials
    catalog.parent.mkdir()
    catalog.write_bytes(running.setup.catalog.read_bytes())
    (pod,) = pods([the_job()]).values()
    by_job = ended(str(COMMAND), *pod["containers"][0]["args"], **of_container(running, catalog))
    quiet, (code, _) = await asyncio.gather(by_cron(), by_job)
    assert (quiet, code) == ((0, ""), 0)
    assert await by_cron() == (0, "")
    assert await accepted(folder, 3) == [True, False, False]
    assert await planned_pages(folder, 1) == [PAGES]
    (request_id,) = await request_ids(running)
    assert await running.pages(run_id(request_id)) == {"applied": PAGES}
    assert len(running.calls()) == PAGES

    with log.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert await by_cron() == (0, f"gsc-stream sync: exit 75, see {log}\n")


def test_cron_and_the_job_run_in_the_morning_of_california() -> None:
    variables, times, _ = crontab({})
    spec = the_job()["spec"]
    assert (spec["schedule"], spec["timeZone"]) == (times, variables["CRON_TZ"])
    summer = datetime(2026, 7, 1, tzinfo=ZoneInfo(variables["CRON_TZ"]))
    following = croniter(times, summer).get_next(datetime)
    assert following.astimezone(UTC) == datetime(2026, 7, 1, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize("minor", MINORS)
def test_the_job_is_valid_in_three_minors_of_kubernetes(minor: str) -> None:
    assert kubernetes_validate.validate(the_job(), minor, strict=True) == minor


def test_the_job_is_restricted_of_this_version_and_over_before_the_next() -> None:
    (pod,) = pods([the_job()]).values()
    assert_restricted(pod)
    assert not pod["automountServiceAccountToken"]
    assert pod["containers"][0]["image"].endswith(f"/gsc-stream:{version('gsc-stream')}")
    spec = the_job()["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["startingDeadlineSeconds"] + spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] < 24 * 3600
