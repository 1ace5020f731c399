import os
from dataclasses import replace
from pathlib import Path

import pytest

from cli.commands.up import SIMULATED, _plan
from lab.embedded import SearchConsoleApi, find_problems

OPTIONS = {"simulated": False, "catalog": Path("catalog.yaml"), "api_root": "https://example.com", "postgres": None}
ENVIRONMENT = {
    "GSC_KAFKA_BOOTSTRAP_SERVERS": "somewhere:9092",
    "GSC_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "GSC_POSTGRES_DSN": "postgresql://somewhere/else",
    "GSC_HTTP_PORT": "8080",
    "GSC_SITE_QPM": "600",
    "GSC_HTTP_HOST": "",
    "OTHER": "x",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("GSC_")]:
        monkeypatch.delenv(name)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def test_the_services_get_the_users_settings_but_not_servers_and_ports(tmp_path: Path) -> None:
    plan = _plan(tmp_path, **OPTIONS, kafka=None)
    assert plan.settings == {"GSC_SITE_QPM": "600"}
    assert plan.source == SearchConsoleApi("https://example.com", Path("catalog.yaml").absolute())


def test_a_kafka_that_is_given_is_talked_to_as_the_user_says(tmp_path: Path) -> None:
    plan = _plan(tmp_path, **OPTIONS, kafka="broker:9093")
    assert plan.settings == {"GSC_SITE_QPM": "600", "GSC_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}
    assert (plan.choice.kafka, plan.choice.client) == ("broker:9093", {"security.protocol": "SASL_SSL"})


def test_a_simulated_company_needs_no_catalog_and_its_settings_are_checked(tmp_path: Path) -> None:
    plan = _plan(tmp_path / "run", **{**OPTIONS, "simulated": True, "catalog": None}, kafka=None)
    assert plan.source == SIMULATED
    assert find_problems(plan) == []
    assert find_problems(replace(plan, settings={"GSC_SITE_QPM": "many"}))[0].startswith("GSC_SITE_QPM: ")


def test_without_a_catalog_the_simulated_company_is_offered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _plan(tmp_path, **{**OPTIONS, "catalog": None}, kafka=None)
    assert capsys.readouterr().err == "--catalog: missing; or use --simulated to copy from a simulated company\n"
