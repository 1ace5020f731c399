"""The command line against real servers: errors of servers and services, and commands that need topics and schema."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lab.processes import free_port
from lab.servers import Servers
from pipeline.clock import now
from pipeline.pacific import pacific_date
from support.examples import CATALOG, write_catalog

COMMAND = Path(sys.executable).with_name("gsc-stream")
TODAY = pacific_date(now())
DAYS = ("--all", "--start", str(TODAY), "--end", str(TODAY))
USING_POSTGRES = (
    ("producer",),
    ("sink",),
    ("sync", *DAYS, "--wait"),
    ("cancel", "x", "--reason", "x"),
    ("status",),
    ("replay",),
    ("dead-letters", "list"),
    ("dead-letters", "redrive", "--all"),
)


@pytest.fixture
def environment(tmp_path: Path, servers: Servers, dsn: str, topic_prefix: str) -> dict[str, str]:
    catalog = write_catalog(tmp_path)
    return {
        **os.environ,
        "GSC_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
        "GSC_POSTGRES_DSN": dsn,
        "GSC_CATALOG": str(catalog),
        "GSC_TOPIC_PREFIX": topic_prefix,
        "GSC_HTTP_PORT": "0",
        "GSC_LOG_FORMAT": "json",
        "GSC_TOKEN_HOSTS": "http://127.0.0.1",
    }


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def all_at_once(
    environment: dict[str, str], commands: Iterable[tuple[str, ...]]
) -> Iterator[tuple[tuple[str, ...], subprocess.CompletedProcess[str]]]:
    """Run commands in parallel: each waits for an unreachable server."""
    commands = tuple(commands)
    with ThreadPoolExecutor(len(commands)) as threads:
        yield from zip(commands, threads.map(lambda command: run(environment, *command), commands), strict=True)


def json_output(environment: dict[str, str], *arguments: str) -> Any:
    """Return what a command prints as JSON; it must succeed."""
    done = run(environment, *arguments, "--json")
    assert done.returncode == 0, (done.returncode, done.stderr)
    return json.loads(done.stdout)


def test_services_report_an_unreachable_kafka(environment: dict[str, str]) -> None:
    servers = f"127.0.0.1:{free_port()}"
    services = (("producer",), ("fetcher",), ("sink",))
    for command, done in all_at_once({**environment, "GSC_KAFKA_BOOTSTRAP_SERVERS": servers}, services):
        assert (done.returncode, done.stdout) == (2, ""), command
        assert done.stderr.startswith(f"Kafka: {servers} cannot be reached"), (command, done.stderr)
        assert len(done.stderr.splitlines()) == 1, (command, done.stderr)


def test_an_unreachable_postgresql_is_reported_by_every_command(environment: dict[str, str]) -> None:
    run(environment, "topics").check_returncode()
    port = free_port()
    dsn = f"postgresql://gsc@127.0.0.1:{port}/gsc"
    for command, done in all_at_once({**environment, "GSC_POSTGRES_DSN": dsn}, USING_POSTGRES):
        assert (done.returncode, done.stdout) == (2, ""), command
        [line] = done.stderr.splitlines()
        assert line.startswith("PostgreSQL: "), (command, line)
        assert line.endswith(f"port {port} failed: Connection refused"), (command, line)


def test_halts_are_published_and_listed_also_without_a_catalog(environment: dict[str, str]) -> None:
    run(environment, "topics").check_returncode()
    done = run(environment, "halt", "property:sc-domain:example.com", "--reason", "x")
    assert (done.returncode, done.stdout, done.stderr) == (0, "halted property:sc-domain:example.com\n", "")
    written = json_output({**environment, "GSC_CATALOG": "/nowhere"}, "halt", "credential:nobody", "--reason", "x")
    assert (written["scope"], written["state"], written["reason"]) == ("credential:nobody", "halted", "x")
    assert len(json_output(environment, "halts")["halts"]) == 2
    assert json_output(environment, "resume", "credential:nobody")["state"] == "running"
    assert [halt["scope"] for halt in json_output(environment, "halts")["halts"]] == ["property:sc-domain:example.com"]
    done = run(environment, "resume", "credential:acme")
    assert (done.returncode, done.stdout) == (0, "credential:acme is not halted: nothing has changed\n")
    done = run(environment, "resume", "property:sc-domain:exampel.com")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'sc-domain:example.com'?" in done.stderr


def test_a_missing_credential_file_is_reported_with_its_line(environment: dict[str, str]) -> None:
    catalog = Path(environment["GSC_CATALOG"])
    catalog.with_name("acme.json").unlink()
    problem = f"{catalog}:2: credentials.acme.file: no such file: {catalog.with_name('acme.json')}"
    done = run(environment, "check", "--json")
    [check] = [item for item in json.loads(done.stdout)["checks"] if item["credential"] == "acme"]
    assert (done.returncode, check["problem"]) == (1, problem)
    line = json.loads(run(environment, "fetcher").stderr.splitlines()[0])  # it stops, since there are no topics
    assert (line["event"], line["error"]) == ("credential_unusable", problem)


def test_missing_topics_and_migrations_are_reported_with_their_command(
    environment: dict[str, str],
) -> None:
    done = run(environment, "sink")
    assert done.returncode == 2
    assert "`gsc-stream topics` creates it" in done.stderr
    assert run(environment, "topics", "--check").returncode == 1
    assert len(json_output(environment, "topics")["created"]) == 5
    assert run(environment, "topics", "--check").returncode == 0
    done = run(environment, "sink")
    assert done.returncode == 2
    assert "run `gsc-stream migrate`" in done.stderr
    assert json_output(environment, "migrate")["applied"][0] == "0001_schema.sql"
    assert json_output(environment, "migrate")["applied"] == []
    for arguments, message in (
        (("replay", "--property", "nope"), "--property: 'nope' is neither in the ledger nor in the catalog"),
        (("dead-letters", "show", "99:99"), "POSITION: there is no dead letter at 99:99"),
    ):
        done = run(environment, *arguments)
        assert (done.returncode, done.stderr.startswith(message)) == (2, True), done.stderr
    assert json_output(environment, "status")["halts"] == []


def test_a_service_reports_all_wrong_settings_together(environment: dict[str, str]) -> None:
    done = run({**environment, "GSC_MAX_CONCURRENCY": "0", "GSC_CATALOG": ""}, "fetcher")
    assert done.returncode == 2
    assert sorted(line.partition(":")[0] for line in done.stderr.splitlines()) == ["GSC_CATALOG", "GSC_MAX_CONCURRENCY"]


@pytest.mark.parametrize("service", ["producer", "fetcher", "check"])
def test_a_quota_that_is_too_small_is_refused_everywhere_alike(environment: dict[str, str], service: str) -> None:
    catalog = Path(environment["GSC_CATALOG"])
    catalog.write_text(CATALOG.replace("credential: acme", "credential: acme, site_qpm: 5"))
    done = run(environment, service)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{catalog}:4: properties.0.site_qpm: must be greater than or equal to 20, got 5")
