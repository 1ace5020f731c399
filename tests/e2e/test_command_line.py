"""Bad input: one line that says what and where, exit 2, nothing sent."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lab.processes import free_port
from lab.servers import Servers
from pipeline.clock import now, pacific_date

COMMAND = Path(sys.executable).with_name("gsc-stream")
TODAY = pacific_date(now())
CATALOG = """\
credentials:
  - {id: acme, type: authorized_user, file: acme.json}
properties:
  - {url: "sc-domain:example.com", credential: acme}
"""


CREDENTIAL = {"client_id": "x", "client_secret": "x", "refresh_token": "x", "token_uri": "http://127.0.0.1:1/token"}
DAYS = ("--all", "--start", str(TODAY), "--end", str(TODAY))
ON_KAFKA = (
    ("producer",),
    ("fetcher",),
    ("sink",),
    ("topics",),
    ("topics", "--check"),
    ("sync", *DAYS),
    ("sync", *DAYS, "--wait"),
    ("cancel", "x", "--reason", "x"),
    ("status",),
    ("halt", "all", "--reason", "x"),
    ("resume", "all"),
    ("halts",),
    ("replay",),
    ("dead-letters", "list"),
    ("dead-letters", "show", "0:0"),
    ("dead-letters", "redrive", "--all"),
)
ON_POSTGRES = (
    ("producer",),
    ("sink",),
    ("migrate",),
    ("sync", *DAYS, "--wait"),
    ("cancel", "x", "--reason", "x"),
    ("status",),
    ("replay",),
    ("reconcile",),
    ("dead-letters", "list"),
    ("dead-letters", "redrive", "--all"),
    ("retention",),
)


@pytest.fixture
def environment(tmp_path: Path, servers: Servers, dsn: str, topic_prefix: str) -> dict[str, str]:
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    (tmp_path / "acme.json").write_text(json.dumps(CREDENTIAL))
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


def all_at_once(
    environment: dict[str, str], commands: Iterable[tuple[str, ...]]
) -> Iterator[tuple[tuple[str, ...], subprocess.CompletedProcess[str]]]:
    """Each waits for what is not there: together they wait once."""
    commands = tuple(commands)
    with ThreadPoolExecutor(len(commands)) as threads:
        yield from zip(commands, threads.map(lambda command: run(environment, *command), commands), strict=True)


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
        ({"days": "0"}, "days: Expected `int` >= 1, got 0"),
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


def test_an_unreachable_kafka_is_named_by_every_command(environment: dict[str, str]) -> None:
    servers = f"127.0.0.1:{free_port()}"
    for command, done in all_at_once({**environment, "GSC_KAFKA_BOOTSTRAP_SERVERS": servers}, ON_KAFKA):
        assert (done.returncode, done.stdout) == (2, ""), command
        assert done.stderr.startswith(f"Kafka: {servers} cannot be reached"), (command, done.stderr)
        assert len(done.stderr.splitlines()) == 1, (command, done.stderr)


def test_an_unreachable_postgres_is_named_by_every_command(environment: dict[str, str]) -> None:
    run(environment, "topics").check_returncode()
    port = free_port()
    dsn = f"postgresql://gsc@127.0.0.1:{port}/gsc"
    for command, done in all_at_once({**environment, "GSC_POSTGRES_DSN": dsn}, ON_POSTGRES):
        assert (done.returncode, done.stdout) == (2, ""), command
        [line] = done.stderr.splitlines()
        assert line.startswith("PostgreSQL: "), (command, line)
        assert line.endswith(f"port {port} failed: Connection refused"), (command, line)


def test_check_says_a_line_for_each(environment: dict[str, str]) -> None:
    away = {"GSC_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "GSC_POSTGRES_DSN": "postgresql://gsc@127.0.0.1:1/gsc"}
    done = run({**environment, **away, "GSC_MAX_CONCURENCY": "3"}, "check")
    assert done.returncode == 1
    assert [line.partition(": ")[0] for line in done.stdout.splitlines()] == [
        "warn   settings",
        "ok     catalog",
        "ok     limits",
        "FAILED Kafka",
        "FAILED PostgreSQL",
        "FAILED Google, credential acme",
    ]
    assert "GSC_MAX_CONCURENCY is no setting; GSC_MAX_CONCURRENCY?" in done.stdout
    assert "Kafka: Kafka" not in done.stdout
    assert "Is the server running" not in done.stdout


def test_what_librdkafka_refuses_is_a_setting_that_is_wrong(environment: dict[str, str]) -> None:
    wrong = {**environment, "GSC_KAFKA_LINGER_MS": "abc", "GSC_KAFKA_GROUP_PROTOCOL": "foo"}
    for command, done in all_at_once(wrong, (("producer",), ("fetcher",), ("sink",), ("halts",))):
        told = [line.partition(":")[0] for line in done.stderr.splitlines()]
        assert (done.returncode, told) == (2, ["GSC_KAFKA_GROUP_PROTOCOL", "GSC_KAFKA_LINGER_MS"]), command


def test_halts_are_told_and_written_whatever_the_catalog_says(environment: dict[str, str]) -> None:
    run(environment, "topics").check_returncode()
    done = run(environment, "halt", "property:sc-domain:typo.com", "--reason", "x")
    assert (done.returncode, done.stdout) == (0, "halted property:sc-domain:typo.com\n")
    assert done.stderr == "scope: the catalog has no property 'sc-domain:typo.com'; it is written all the same\n"
    written = told({**environment, "GSC_CATALOG": "/nowhere"}, "halt", "credential:nobody", "--reason", "x")
    assert (written["scope"], written["state"], written["reason"]) == ("credential:nobody", "halted", "x")
    assert len(told(environment, "halts")) == 2
    assert told(environment, "resume", "credential:nobody")["state"] == "running"
    assert [halt["scope"] for halt in told(environment, "halts")] == ["property:sc-domain:typo.com"]


def test_a_credential_file_that_is_missing_is_told_with_its_line(environment: dict[str, str]) -> None:
    catalog = Path(environment["GSC_CATALOG"])
    catalog.with_name("acme.json").unlink()
    done = run(environment, "fetcher")
    place = f"{catalog}:2: credentials.acme.file"
    assert (done.returncode, done.stderr) == (2, f"{place}: no such file: {catalog.with_name('acme.json')}\n")


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
    assert told(environment, "migrate")["applied"][0] == "0001_schema.sql"
    assert told(environment, "migrate")["applied"] == []
    for arguments, said in (
        (("replay", "--property", "nope"), "--property: 'nope' is neither in the ledger nor in the catalog"),
        (("dead-letters", "show", "99:99"), "PLACE: there is no letter at 99:99"),
    ):
        done = run(environment, *arguments)
        assert (done.returncode, done.stderr.startswith(said)) == (2, True), done.stderr
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
