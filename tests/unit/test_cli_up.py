import os
from pathlib import Path

import pytest

from cli.commands.up import _plan

OPTIONS = {"catalog": Path("catalog.yaml"), "api_root": "https://example.com", "postgres": None}
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
    assert plan.catalog == Path("catalog.yaml").absolute()


def test_a_kafka_that_is_given_is_talked_to_as_the_user_says(tmp_path: Path) -> None:
    plan = _plan(tmp_path, **OPTIONS, kafka="broker:9093")
    assert plan.settings == {"GSC_SITE_QPM": "600", "GSC_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}
    assert (plan.choice.kafka, plan.choice.client) == ("broker:9093", {"security.protocol": "SASL_SSL"})
