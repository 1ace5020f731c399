"""Bad input: one line that says what and where, exit 2, nothing sent."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lab.choosing import Servers
from lab.processes import free_port
from pipeline.clock import now, pacific_date

COMMAND = Path(sys.executable).with_name("gsc-stream")
TODAY = pacific_date(now())
CATALOG = """\
credentials:
  - {id: acme, type: service_account, file: acme.json}
properties:
  - {url: "sc-domain:example.com", credential: acme}
"""


@pytest.fixture
def environment(tmp_path: Path, servers: Servers, dsn: str, topic_prefix: str) -> dict[str, str]:
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    return {
        **os.environ,
        "GSC_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
        "GSC_POSTGRES_DSN": dsn,
        "GSC_CATALOG": str(tmp_path / "catalog.yaml"),
        "GSC_TOPIC_PREFIX": topic_prefix,
        "GSC_HTTP_PORT": "0",
    }


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def told(environment: dict[str, str], *arguments: str) -> Any:
    """What a command prints as JSON; it must succeed."""
    done = run(environment, *arguments, "--json")
    assert done.returncode == 0, (done.returncode, done.stderr)
    return json.loads(done.stdout)


def sync(environment: dict[str, str], **changes: str) -> subprocess.CompletedProcess[str]:
    options = {"property": "sc-domain:example.com", "start": str(TODAY), "end": str(TODAY)} | changes
    return run(environment, "sync", *[part for name, value in options.items() for part in (f"--{name}", value)])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"property": "sc-domain:other.com"}, "properties: unknown property 'sc-domain:other.com'"),
        ({"report": "nope"}, "reports: unknown report 'nope'"),
        ({"end": str(TODAY + timedelta(days=1))}, "end: "),
        ({"end": str(TODAY - timedelta(days=1))}, "is before start"),
        ({"start": str(TODAY - timedelta(days=500))}, "start: "),
        ({"start": "yesterday"}, "start: "),
    ],
)
def test_a_sync_that_cannot_be(environment: dict[str, str], changes: dict[str, str], told: str) -> None:
    done = sync(environment, **changes)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_bad_catalog_is_told_with_its_line(environment: dict[str, str]) -> None:
    Path(environment["GSC_CATALOG"]).write_text(CATALOG.replace("credential: acme", "credential: nobody"))
    done = sync(environment)
    assert done.returncode == 2
    assert "catalog.yaml:4: properties.0.credential: unknown credential 'nobody'" in done.stderr


def test_an_unreachable_kafka(environment: dict[str, str]) -> None:
    servers = f"127.0.0.1:{free_port()}"
    for command in ("producer", "sink", "topics"):
        done = run({**environment, "GSC_KAFKA_BOOTSTRAP_SERVERS": servers}, command)
        assert (done.returncode, f"{servers} cannot be reached" in done.stderr or command == "topics") == (2, True)
    done = sync({**environment, "GSC_KAFKA_BOOTSTRAP_SERVERS": servers})
    assert done.returncode == 2
    assert f"Kafka: {servers} cannot be reached" in done.stderr


def test_an_unreachable_postgres(environment: dict[str, str]) -> None:
    run(environment, "topics").check_returncode()
    dsn = f"postgresql://gsc@127.0.0.1:{free_port()}/gsc"
    for command in ("producer", "sink", "migrate"):
        done = run({**environment, "GSC_POSTGRES_DSN": dsn}, command)
        assert (done.returncode, "PostgreSQL: " in done.stderr) == (2, True), command


def test_topics_and_schema_are_asked_for_by_name(environment: dict[str, str]) -> None:
    done = run(environment, "sink")
    assert done.returncode == 2
    assert "`gsc-stream topics` creates it" in done.stderr
    assert run(environment, "topics", "--check").returncode == 1
    assert len(told(environment, "topics")["created"]) == 5
    assert run(environment, "topics", "--check").returncode == 0
    done = run(environment, "sink")
    assert done.returncode == 2
    assert "run `gsc-stream migrate`" in done.stderr
    assert told(environment, "migrate")["applied"][0] == "0001_ledger.sql"
    assert told(environment, "migrate")["applied"] == []
    assert told(environment, "status")["halts"] == []


def test_wrong_settings_are_told_at_once(environment: dict[str, str]) -> None:
    done = run({**environment, "GSC_MAX_CONCURRENCY": "0", "GSC_CATALOG": ""}, "fetcher")
    assert done.returncode == 2
    assert sorted(line.partition(":")[0] for line in done.stderr.splitlines()) == ["GSC_CATALOG", "GSC_MAX_CONCURRENCY"]


def test_limits_that_cannot_hold(environment: dict[str, str]) -> None:
    Path(environment["GSC_CATALOG"]).write_text(CATALOG.replace("credential: acme", "credential: acme, site_qpm: 5"))
    done = run(environment, "fetcher")
    assert done.returncode == 2
    assert "site_qpm of sc-domain:example.com: 5 a minute x headroom 0.8 = 4 leaves nothing" in done.stderr


@pytest.mark.parametrize("scope", ["everything", "property:", "planet:mars"])
def test_an_unknown_scope_is_refused_with_the_known_ones(environment: dict[str, str], scope: str) -> None:
    done = run(environment, "halt", scope, "--reason", "x")
    assert done.returncode == 2
    assert "known: all, credential:ID, property:URL, run:ID" in done.stderr


def test_docker_that_is_not_there_is_told(environment: dict[str, str]) -> None:
    nowhere = f"tcp://127.0.0.1:{free_port()}"
    done = run({**environment, "GSC_LAB": "docker", "DOCKER_HOST": nowhere}, "demo")
    assert done.returncode == 2
    assert "GSC_LAB=docker: Docker cannot start apache/kafka" in done.stderr
    done = run({**environment, "GSC_LAB": "cloud"}, "demo")
    assert (done.returncode, done.stderr) == (2, "GSC_LAB: embedded or docker, got 'cloud'\n")
