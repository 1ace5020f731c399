"""The command line without servers, in one process: usage errors, invalid settings, unreachable servers."""

import json
import os
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from cli import __main__ as cli_main
from cli.__main__ import main, run_and_exit
from cli.context import current_user
from lab.processes import free_port
from pipeline import startup_checks
from pipeline.clock import now
from pipeline.kafka_admin import check_reachable
from pipeline.pacific import pacific_date
from support.examples import CATALOG, write_catalog

TODAY = pacific_date(now())
DAYS = ("--all", "--start", str(TODAY), "--end", str(TODAY))
COMMANDS = main.list_commands(click.Context(main))
USING_KAFKA = (
    ("topics",),
    ("topics", "--check"),
    ("sync", *DAYS),
    ("sync", *DAYS, "--wait"),
    ("cancel", "x", "--reason", "x"),
    ("status",),
    ("halt", "all", "--reason", "x"),
    ("resume", "all"),
    ("resume", "--all"),
    ("halts",),
    ("replay",),
    ("dead-letters", "list"),
    ("dead-letters", "show", "0:0"),
    ("dead-letters", "redrive", "--all"),
)
USING_POSTGRES_ONLY = (("migrate",), ("reconcile",), ("retention",), ("runs",), ("runs", "x"))


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Settings whose servers cannot be reached."""
    catalog = write_catalog(tmp_path)
    monkeypatch.setattr(startup_checks, "check_reachable", partial(check_reachable, timeout_s=0.2))
    return {
        "GSC_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "GSC_POSTGRES_DSN": "postgresql://gsc@127.0.0.1:1/gsc",
        "GSC_CATALOG": str(catalog),
    }


def run(environment: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, env=environment)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_a_sentence(command: str) -> None:
    result = CliRunner().invoke(main, (command, "--help"))
    assert result.exit_code == 0
    assert main.get_command(click.Context(main), command).get_short_help_str(200).endswith(".")  # type: ignore[union-attr]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_an_example_of_it(command: str) -> None:
    _, _, examples = run({}, command, "--help").stdout.partition("Example")
    assert f"gsc-stream {command}" in examples


def test_the_help_lists_every_command() -> None:
    listed = CliRunner().invoke(main, ("--help",)).output
    assert all(f"\n  {name} " in listed for name in COMMANDS)
    assert {"producer", "fetcher", "sink", "dead-letters", "up", "down", "demo"} <= set(COMMANDS)


def test_an_unknown_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(main, ("nope",)).exit_code == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"property": "sc-domain:other.com"}, "--property: unknown property 'sc-domain:other.com'"),
        ({"report": "nope"}, "--report: unknown report 'nope'"),
        ({"end": str(TODAY + timedelta(days=1))}, "--end: "),
        ({"end": str(TODAY - timedelta(days=1))}, "is before start"),
        ({"start": str(TODAY - timedelta(days=500))}, "--start: "),
        ({"start": "yesterday"}, "--start: 'yesterday' is not a date, YYYY-MM-DD"),
        ({"start": "1999-01-01"}, "--start: the year 1999"),
        ({"days": "0"}, "--days: 0 is not in the range 1<=x<=487"),
        ({"property": "sc-domain:exmaple.com"}, "did you mean 'sc-domain:example.com'?"),
    ],
)
def test_an_invalid_sync_is_one_line(environment: dict[str, str], changes: dict[str, str], message: str) -> None:
    options = {"property": "sc-domain:example.com", "start": str(TODAY), "end": str(TODAY)} | changes
    result = run(environment, "sync", *[part for name, value in options.items() for part in (f"--{name}", value)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_invalid_catalog_is_reported_with_its_line(environment: dict[str, str]) -> None:
    Path(environment["GSC_CATALOG"]).write_text(CATALOG.replace("credential: acme", "credential: nobody"))
    result = run(environment, "sync", *DAYS)
    assert result.exit_code == 2
    assert "catalog.yaml:4: properties.0.credential: unknown credential 'nobody'" in result.stderr


@pytest.mark.parametrize("command", USING_KAFKA, ids=" ".join)
def test_an_unreachable_kafka_is_one_line(environment: dict[str, str], command: tuple[str, ...]) -> None:
    servers = f"127.0.0.1:{free_port()}"
    result = run({**environment, "GSC_KAFKA_BOOTSTRAP_SERVERS": servers}, *command)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Kafka: {servers} cannot be reached")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", USING_POSTGRES_ONLY, ids=" ".join)
def test_an_unreachable_postgresql_is_one_line(environment: dict[str, str], command: tuple[str, ...]) -> None:
    port = free_port()
    result = run({**environment, "GSC_POSTGRES_DSN": f"postgresql://gsc@127.0.0.1:{port}/gsc"}, *command)
    assert (result.exit_code, result.stdout) == (2, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("PostgreSQL: ")
    assert line.endswith(f"port {port} failed: Connection refused")


def test_check_prints_one_line_per_check(environment: dict[str, str]) -> None:
    result = run(environment, "check")
    assert result.exit_code == 1
    assert [line.partition(": ")[0] for line in result.stdout.splitlines()] == [
        "ok     settings",
        "ok     catalog",
        "ok     limits",
        "failed Kafka",
        "failed PostgreSQL",
        "failed Google, credential acme",
    ]
    assert "Kafka: Kafka" not in result.stdout
    assert "Is the server running" not in result.stdout


def test_check_as_json_has_the_same_checks(environment: dict[str, str]) -> None:
    result = run(environment, "check", "--json")
    printed: dict[str, Any] = json.loads(result.stdout)
    assert printed["ok"] is False
    names = [(item["check"], item["credential"], item["ok"]) for item in printed["checks"]]
    assert names == [
        ("settings", None, True),
        ("catalog", None, True),
        ("limits", None, True),
        ("kafka", None, False),
        ("postgresql", None, False),
        ("google", "acme", False),
    ]
    assert "cannot be reached" in printed["checks"][3]["problem"]


def test_a_setting_that_librdkafka_refuses_is_one_line(environment: dict[str, str]) -> None:
    result = run({**environment, "GSC_KAFKA_GROUP_PROTOCOL": "foo"}, "halts")
    assert result.exit_code == 2
    assert result.stderr.startswith("GSC_KAFKA_GROUP_PROTOCOL: ")


def test_all_missing_settings_are_reported_together() -> None:
    result = run({"GSC_KAFKA_BOOTSTRAP_SERVERS": "", "GSC_POSTGRES_DSN": "", "GSC_CATALOG": ""}, "sync", *DAYS)
    assert result.exit_code == 2
    assert sorted(result.stderr.splitlines()) == [
        "GSC_CATALOG: missing",
        "GSC_KAFKA_BOOTSTRAP_SERVERS: missing",
        "GSC_POSTGRES_DSN: missing",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--all",), "--start: give --days, --history, or --start and --end"),
        (("--all", "--start", "2026-01-01"), "--end: give --days, --history, or --start and --end"),
        (
            ("--all", "--days", "10", "--history"),
            "--history: give either --history, or --days, or --start and --end",
        ),
        (("--all", "--days", "10", "--end", "2026-01-01"), "--days: give either --days, or --start and --end"),
        (DAYS[1:], "--property: none given; name some, or request --all"),
        ((*DAYS, "--property", "x"), "--property: give either --property or --all, not both"),
    ],
)
def test_a_choice_between_options_is_explained_with_their_names(
    environment: dict[str, str], options: tuple[str, ...], message: str
) -> None:
    result = run(environment, "sync", *options)
    assert (result.exit_code, result.stderr) == (2, f"{message}\n")


@pytest.mark.parametrize("scope", ["everything", "property:", "planet:mars"])
def test_an_unknown_scope_is_refused_with_the_valid_forms(environment: dict[str, str], scope: str) -> None:
    result = run(environment, "halt", scope, "--reason", "x")
    assert result.exit_code == 2
    assert "known: all, project:ID, credential:ID, property:URL, run:ID" in result.stderr


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        ("property:*", "wildcards are not supported"),
        ("property:sc-domain:exmaple.com", "SCOPE: the catalog has no property 'sc-domain:exmaple.com'; did you mean"),
        ("credential:acne", "SCOPE: the catalog has no credential 'acne'; did you mean 'acme'?"),
    ],
)
def test_a_halt_of_a_scope_that_the_catalog_lacks_is_refused(
    environment: dict[str, str], scope: str, message: str
) -> None:
    result = run(environment, "halt", scope, "--reason", "x")
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_name() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", no_name)
    assert current_user() == f"uid {os.getuid()}"


@pytest.mark.parametrize(
    "until", ["yesterday", "2020-01-01T00:00:00Z", "2099-01-01T00:00:00", "9999-12-31T23:59:59-12:00"]
)
def test_an_invalid_end_of_a_halt_is_refused(environment: dict[str, str], until: str) -> None:
    result = run(environment, "halt", "all", "--reason", "x", "--until", until)
    assert result.exit_code == 2
    assert result.stderr.startswith("--until: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--from", "2026-01-02T00:00:00Z", "--to", "2026-01-01T00:00:00Z"),
            "--to: 2026-01-01T00:00:00+00:00 is not after",
        ),
        (("--start", "2026-01-02", "--end", "2026-01-01"), "--end: 2026-01-01 is before --start 2026-01-02"),
        (("--from", "today"), "--from: 'today' is not an ISO 8601 time"),
        (("--from", "2026-01-01T00:00:00"), "--from: '2026-01-01T00:00:00' has no UTC offset"),
        (("--start", "1/2/2026"), "--start: '1/2/2026' is not a date"),
        (("--start", "1999-12-31"), "--start: the year 1999 is not from 2000 to 2199"),
        (("--from", "9999-12-31T23:00:00-12:00"), "--from: the year 9999 is not"),
    ],
)
def test_an_invalid_period_of_a_replay_is_refused(
    environment: dict[str, str], arguments: tuple[str, ...], message: str
) -> None:
    result = run(environment, "replay", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_reversed_period_of_reconcile_is_refused(environment: dict[str, str]) -> None:
    result = run(environment, "reconcile", "--start", "2026-01-02", "--end", "2026-01-01")
    assert (result.exit_code, result.stderr) == (2, "--end: 2026-01-01 is before --start 2026-01-02\n")


def test_numbers_out_of_range_are_refused(environment: dict[str, str]) -> None:
    for arguments in (
        ("reconcile", "--sample", "-3"),
        ("reconcile", "--tolerance", "-1"),
        ("dead-letters", "redrive", "--all", "--rate", "0"),
        ("topics", "--replication", "1000"),
    ):
        result = run(environment, *arguments)
        assert (result.exit_code, result.stderr.startswith(f"{arguments[-2]}: ")) == (2, True), arguments


def test_an_invalid_position_of_a_dead_letter_is_refused(environment: dict[str, str]) -> None:
    result = run(environment, "dead-letters", "show", "²:1")
    assert (result.exit_code, result.stderr) == (2, "POSITION: '²:1' is not PARTITION:OFFSET\n")


def test_redrive_needs_a_filter_or_all(environment: dict[str, str]) -> None:
    result = run(environment, "dead-letters", "redrive")
    assert result.exit_code == 2
    assert "or use --all" in result.stderr


def test_an_unknown_value_of_gsc_lab_is_refused() -> None:
    result = run({"GSC_LAB": "cloud"}, "demo")
    assert (result.exit_code, result.stderr) == (2, "GSC_LAB: must be embedded or docker, got 'cloud'\n")


def test_docker_that_cannot_be_reached_is_one_line() -> None:
    result = run({"GSC_LAB": "docker", "DOCKER_HOST": f"tcp://127.0.0.1:{free_port()}"}, "demo")
    assert result.exit_code == 2
    assert "GSC_LAB=docker: Docker cannot start apache/kafka" in result.stderr


def test_down_without_a_pipeline_changes_nothing(tmp_path: Path) -> None:
    result = run({}, "down", "--folder", str(tmp_path))
    assert (result.exit_code, result.stdout) == (0, f"nothing is running in {tmp_path}\n")
    assert json.loads(run({}, "down", "--folder", str(tmp_path), "--json").stdout)["ended"] is None


def test_up_reports_all_problems_before_anything_starts(environment: dict[str, str], tmp_path: Path) -> None:
    Path(environment["GSC_CATALOG"]).with_name("acme.json").unlink()
    result = run({**environment, "GSC_MAX_CONCURRENCY": "0"}, "up", "--folder", str(tmp_path / "run"))
    assert result.exit_code == 2
    assert "GSC_MAX_CONCURRENCY: " in result.stderr
    assert "no such file" in result.stderr


def test_the_process_ends_with_the_exit_code_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(cli_main, "exit_now", codes.append)
    for arguments in (["--version"], ["no-such-command"]):
        monkeypatch.setattr("sys.argv", ["gsc-stream", *arguments])
        run_and_exit()
    assert codes == [0, 2]
