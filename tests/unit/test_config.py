"""`gsc-stream config` and `gsc-stream psql`: settings in force, and the connection of psql."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.__main__ import main
from cli.commands import psql
from cli.commands.psql import connection_variables
from support.examples import CATALOG, write_catalog

DSN = "postgresql://gsc:s3cret@db.example:5433/gsc?sslmode=require&keepalives=1"


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name in [name for name in os.environ if name.startswith("GSC_")]:
        monkeypatch.delenv(name)
    return {
        "GSC_KAFKA_BOOTSTRAP_SERVERS": "broker:9092",
        "GSC_KAFKA_SASL_PASSWORD": "s3cret",
        "GSC_POSTGRES_DSN": DSN,
        "GSC_CATALOG": str(write_catalog(tmp_path)),
        "GSC_HTTP_TOKEN": "s3cret",
        "GSC_SITE_QPM": "600",
    }


def run(environment: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, env=environment)


def settings_of(result: Result) -> dict[str, tuple[Any, Any]]:
    return {item["name"]: (item["value"], item["source"]) for item in json.loads(result.stdout)["settings"]}


def test_every_setting_is_shown_with_its_source(environment: dict[str, str]) -> None:
    catalog = Path(environment["GSC_CATALOG"])
    catalog.write_text(CATALOG.replace("credential: acme", "credential: acme, site_qpm: 300"))
    result = run(environment, "config", "--json")
    assert result.exit_code == 0, result.stderr
    settings = settings_of(result)
    assert settings["GSC_SITE_QPM"] == ("600", "environment")
    assert settings["GSC_USER_QPM"] == ("1200", "default")
    assert settings["properties.sc-domain:example.com.site_qpm"] == ("300", "catalog")
    assert settings["GSC_KAFKA_BOOTSTRAP_SERVERS"] == ("broker:9092", "environment")


def test_secrets_are_never_shown(environment: dict[str, str]) -> None:
    for arguments in (("config",), ("config", "--json")):
        result = run(environment, *arguments)
        assert "s3cret" not in result.output
        assert "(hidden)" in result.stdout


def test_what_is_missing_wrong_or_unknown_is_exit_code_2(environment: dict[str, str]) -> None:
    del environment["GSC_POSTGRES_DSN"]
    result = run({**environment, "GSC_BURST": "many", "GSC_USER_QMP": "1"}, "config", "--json")
    assert result.exit_code == 2
    assert settings_of(result)["GSC_POSTGRES_DSN"] == (None, "missing")
    message = json.loads(result.stderr)["detail"]
    assert "GSC_POSTGRES_DSN: missing" in message
    assert "GSC_BURST: " in message
    assert "GSC_USER_QMP: no such setting; did you mean 'GSC_USER_QPM'?" in message


def test_psql_gets_the_connection_in_variables_and_the_password_in_no_argument(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[str, list[str], dict[str, str]]] = []
    monkeypatch.setattr(psql, "find_psql", lambda: "/usr/bin/psql")
    monkeypatch.setattr(os, "execve", lambda *arguments: started.append(arguments))
    run(environment, "psql", "-c", "select 1", "--csv")
    [(program, argv, variables)] = started
    assert (program, argv) == ("/usr/bin/psql", ["psql", "-c", "select 1", "--csv"])
    assert (variables["PGPASSWORD"], variables["PGHOST"], variables["PGPORT"]) == ("s3cret", "db.example", "5433")


def test_the_variables_of_a_dsn_are_those_of_libpq() -> None:
    assert connection_variables(DSN) == {
        "PGUSER": "gsc", "PGPASSWORD": "s3cret", "PGHOST": "db.example", "PGPORT": "5433", "PGDATABASE": "gsc",
        "PGSSLMODE": "require",
    }  # fmt: skip


def test_a_missing_psql_is_one_line(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psql, "find_psql", lambda: None)
    result = run(environment, "psql")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "psql is not on the PATH: install PostgreSQL's client, or `gsc-stream[lab]`\n"
