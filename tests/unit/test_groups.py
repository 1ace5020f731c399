"""Groups of commands: sections of the help, nearest names, errors as text and as JSON, and interruptions."""

import json
from collections.abc import Coroutine
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from cli.__main__ import SECTIONS, main
from cli.commands.sync import SyncJob
from cli.context import SyncSettings
from pipeline.contracts.identity import run_id
from pipeline.contracts.messages import SyncRequest
from support.examples import DAY, NOW


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, env={"GSC_KAFKA_BOOTSTRAP_SERVERS": ""})


def test_every_command_is_in_one_section() -> None:
    listed = [name for section in SECTIONS.values() for name in section]
    assert sorted(listed) == sorted(main.list_commands(click.Context(main)))
    text = run("--help").output
    assert all(f"\n{title}:\n" in text for title in SECTIONS)
    assert "Other" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("hlat",), "unknown command 'hlat'; did you mean 'halt'?"),
        (("nothing-like-it",), "unknown command 'nothing-like-it'; `main --help` lists the commands"),
        (("dead-letters", "lsit"), "unknown command 'lsit'; did you mean 'list'?"),
        (("sync", "--dyas", "3"), "--dyas: unknown option; did you mean '--days'?"),
        (("sync", "--days", "x"), "--days: 'x' is not a whole number"),
        (("reconcile", "--tolerance", "x"), "--tolerance: 'x' is not a number"),
        (("halt", "all"), "--reason: missing"),
        (("cancel", "--reason", "x"), "RUN_ID: missing"),
        (("--nope",), "--nope: unknown option; `main --help` lists the options"),
    ],
)
def test_a_usage_error_is_one_line_and_names_what_is_wrong(arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"{message}\n"


@pytest.mark.parametrize(
    ("arguments", "field", "message"),
    [
        (("halt", "all", "--json"), "--reason", "missing"),
        (("halts", "--json"), None, "GSC_KAFKA_BOOTSTRAP_SERVERS: missing"),
        (("hlat", "--json"), None, "unknown command 'hlat'; did you mean 'halt'?"),
    ],
)
def test_errors_are_json_with_json(arguments: tuple[str, ...], field: str | None, message: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    problem = json.loads(result.stderr)
    assert (problem["field"], problem["detail"]) == (field, message)
    assert (problem["title"], problem["status"]) == ("Wrong usage or settings", None)


def test_an_interruption_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(work: Coroutine[Any, Any, Any]) -> None:
        work.close()
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.commands.halts.run", interrupt)
    result = CliRunner().invoke(main, ("halts",), env={"GSC_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize("sent", [True, False])
def test_an_interrupted_sync_says_whether_its_run_goes_on(sent: bool, capsys: pytest.CaptureFixture[str]) -> None:
    settings = SyncSettings(kafka={}, postgres_dsn="postgresql://x", catalog="x")
    request = SyncRequest(request_id="r", all_properties=True, start=DAY, end=DAY, requested_at=NOW)
    with pytest.raises(SystemExit) as caught:
        SyncJob(settings, request, as_json=False, sent=sent).fail_interrupted()
    assert caught.value.code == 130
    printed = capsys.readouterr().err
    assert (f"run {run_id('r')} goes on: watch it with `gsc-stream runs {run_id('r')} --watch`" in printed) is sent
    assert ("interrupted before the request was sent" in printed) is not sent
