"""Settings from environment variables: those that every service has, and those of the services."""

from typing import Annotated, Self

import pytest
from pydantic import Field, SecretStr, ValidationError, model_validator

from fetcher.settings import FetcherSettings
from pipeline.settings import (
    HttpAddress,
    HttpSettings,
    KafkaSettings,
    PostgresSettings,
    Settings,
    SettingsError,
    address_problem,
    kafka_configuration,
    kafka_variable,
    read_settings,
)
from producer.settings import ProducerSettings

REQUIRED = {"GSC_KAFKA_BOOTSTRAP_SERVERS": "k:9092", "GSC_CATALOG": "c.yaml", "GSC_POSTGRES_DSN": "x"}


class SecretSettings(Settings):
    key: Annotated[SecretStr, Field(min_length=8)]
    other_key: Annotated[SecretStr | None, Field(min_length=8)] = None


class AddressSettings(Settings):
    address: HttpAddress = "https://example.com"
    other_address: HttpAddress = "https://example.com"

    @model_validator(mode="after")
    def _addresses_differ(self) -> Self:
        if self.address == self.other_address != "https://example.com":
            raise ValueError("GSC_ADDRESS and GSC_OTHER_ADDRESS are equal")
        return self


def find_problems(model: type[Settings], environment: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read_settings(model, environment)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def test_variables_override_defaults_and_empty_ones_do_not() -> None:
    settings = read_settings(FetcherSettings, {**REQUIRED, "GSC_MAX_CONCURRENCY": "1", "GSC_SITE_QPM": ""})
    assert (settings.max_concurrency, settings.max_in_flight, settings.site_qpm) == (1, 10, 1200)
    assert settings.quota_headroom == 0.8


def test_an_empty_required_variable_is_missing() -> None:
    assert find_problems(PostgresSettings, {"GSC_POSTGRES_DSN": ""}) == ["GSC_POSTGRES_DSN: missing"]


def test_settings_are_read_from_the_given_environment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSC_LOG_LEVEL", "debug")
    monkeypatch.setenv("GSC_POSTGRES_DSN", "postgresql://elsewhere")
    assert Settings().log_level == "info"
    assert read_settings(Settings, {}).log_level == "info"
    assert find_problems(PostgresSettings, {}) == ["GSC_POSTGRES_DSN: missing"]


def test_variable_names_are_upper_case() -> None:
    assert read_settings(HttpSettings, {"gsc_http_port": "1", "GSC_http_port": "2"}).http_port == 8080


def test_variables_of_other_programs_are_ignored() -> None:
    others = {"GSC_VERSION": "1", "GSC_KAFKA": "garbage", "HTTP_PORT": "1", "GSC_KAFKA_PORT": "tcp://10.0.0.1:80"}
    assert read_settings(HttpSettings, others) == HttpSettings()


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().log_level = "debug"  # type: ignore[misc]


def test_kafka_variables_become_librdkafka_properties() -> None:
    environment = {**REQUIRED, "GSC_KAFKA_SASL_USERNAME": "u", "GSC_KAFKA_ACKS": "", "OTHER": "x"}
    expected = {"bootstrap.servers": "k:9092", "sasl.username": "u"}
    assert kafka_configuration(environment) == expected
    assert read_settings(KafkaSettings, environment).kafka == expected
    assert all(kafka_configuration({kafka_variable(name): "x"}) == {name: "x"} for name in expected)


def test_kafka_settings_need_bootstrap_servers() -> None:
    assert find_problems(KafkaSettings, {"GSC_KAFKA_ACKS": "all"}) == ["GSC_KAFKA_BOOTSTRAP_SERVERS: missing"]


def test_the_kafka_configuration_is_not_printed() -> None:
    settings = read_settings(KafkaSettings, {**REQUIRED, "GSC_KAFKA_SASL_PASSWORD": "hidden"})
    assert "hidden" not in f"{settings!r} {settings}"


def test_every_wrong_or_missing_variable_is_reported_in_one_error() -> None:
    problems = find_problems(
        FetcherSettings, {"GSC_MAX_CONCURRENCY": "0", "GSC_QUOTA_HEADROOM": "much", "GSC_API_ROOT": "ftp://x"}
    )
    assert {line.partition(":")[0] for line in problems} == {
        "GSC_KAFKA_BOOTSTRAP_SERVERS",
        "GSC_CATALOG",
        "GSC_MAX_CONCURRENCY",
        "GSC_QUOTA_HEADROOM",
        "GSC_API_ROOT",
    }
    assert any("got '0'" in line for line in problems)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("GSC_API_ROOT", "http://[::1", "invalid IPv6 address"),
        ("GSC_API_ROOT", "http://localhost:abc", "invalid port number"),
        ("GSC_API_ROOT", "http://localhost:99999", "invalid port number"),
        ("GSC_API_ROOT", "http://a..b", "has an empty label"),
        ("GSC_API_ROOT", "http://localhost?x=1", "no query"),
        ("GSC_TOKEN_HOSTS", "https://x/y", "'https://x/y' is not a host such as"),
        ("GSC_SESSION_TIMEOUT_S", "nan", "finite"),
        ("GSC_SESSION_TIMEOUT_S", "1e12", "less than or equal to 60"),
        ("GSC_HTTP_TIMEOUT_S", "inf", "finite"),
        ("GSC_DRAIN_S", "1e12", "less than or equal to 3600"),
        ("GSC_SITE_QPS", "nan", "finite"),
        ("GSC_MAX_CONCURRENCY", "1000000", "less than or equal to 2000"),
        ("GSC_DEAD_LETTER_RATIO", "1e-300", "greater than or equal to 0.001"),
        ("GSC_DAILY_CRON", "30 5 * *", "five fields"),
        ("GSC_DAILY_CRON", "0 0 31 2 *", "matches some day"),
        ("GSC_DAILY_CRON", "* * * * * *", "every second"),
    ],
)
def test_a_wrong_variable_is_reported_in_one_line(name: str, value: str, text: str) -> None:
    model = ProducerSettings if name == "GSC_DAILY_CRON" else FetcherSettings
    [line] = find_problems(model, {**REQUIRED, name: value})
    assert line.startswith(f"{name}: ")
    assert text in line


def test_an_error_does_not_show_a_secret() -> None:
    assert find_problems(SecretSettings, {"GSC_KEY": "hidden", "GSC_OTHER_KEY": "hidden"}) == [
        "GSC_KEY: Value should have at least 8 items after validation, not 6",
        "GSC_OTHER_KEY: Value should have at least 8 items after validation, not 6",
    ]


def test_an_error_about_several_variables_is_reported_as_it_is_raised() -> None:
    environment = {"GSC_ADDRESS": "http://x", "GSC_OTHER_ADDRESS": "http://x"}
    assert find_problems(AddressSettings, environment) == ["GSC_ADDRESS and GSC_OTHER_ADDRESS are equal"]


NOT_HTTP = "must be a URL that begins with http:// or https://, names a host and has no blanks"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", NOT_HTTP),
        (7, NOT_HTTP),
        (None, NOT_HTTP),
        (b"http://localhost", NOT_HTTP),
        ("localhost", NOT_HTTP),
        ("ftp://localhost", NOT_HTTP),
        ("http:localhost", NOT_HTTP),
        ("http:///localhost", NOT_HTTP),
        (" http://localhost", NOT_HTTP),
        ("http://local host", NOT_HTTP),
        ("http://localhost/a\tb", NOT_HTTP),
        ("http://localhost/\n", NOT_HTTP),
        ("http://user@", "must be a valid URL, empty host"),
        ("http://[::1", "must be a valid URL, invalid IPv6 address"),
        ("http://localhost:abc", "must be a valid URL, invalid port number"),
        ("http://localhost:99999", "must be a valid URL, invalid port number"),
        ("http://localhost:0", "the port must be from 1 to 65535"),
        ("http://a..b", "the host of the URL has an empty label or one of more than 63 characters"),
        (f"http://{'a' * 64}.com", "the host of the URL has an empty label or one of more than 63 characters"),
    ],
)
def test_an_address_that_no_client_can_call_has_a_problem(value: object, problem: str) -> None:
    assert address_problem(value) == problem
    if isinstance(value, str) and value:
        assert find_problems(AddressSettings, {"GSC_ADDRESS": value}) == [f"GSC_ADDRESS: {problem}, got {value!r}"]


@pytest.mark.parametrize(
    "value",
    ["http://localhost", "HTTPS://example.com:443/a/b?c=d", "http://[::1]:8080/", "http://10.0.0.1", "http://ü.de"],
)
def test_an_address_is_kept_as_it_is_written(value: str) -> None:
    assert address_problem(value) is None
    assert read_settings(AddressSettings, {"GSC_ADDRESS": value}).address == value
