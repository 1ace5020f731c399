"""Settings from environment variables."""

import pytest

from fetcher.settings import FetcherSettings
from pipeline.settings import SettingsError, kafka_configuration, read_settings
from producer.settings import ProducerSettings

GOOD = {"GSC_KAFKA_BOOTSTRAP_SERVERS": "k:9092", "GSC_CATALOG": "c.yaml"}


def test_defaults_apply_to_missing_and_empty_variables() -> None:
    settings = read_settings(FetcherSettings, {**GOOD, "GSC_MAX_CONCURRENCY": "1", "GSC_SITE_QPM": ""})
    assert (settings.max_concurrency, settings.max_in_flight, settings.site_qpm) == (1, 10, 1200)
    assert settings.quota_headroom == 0.8


def test_librdkafka_settings_are_read_by_name() -> None:
    assert kafka_configuration({**GOOD, "GSC_KAFKA_SASL_USERNAME": "u", "OTHER": "x"}) == {
        "bootstrap.servers": "k:9092",
        "sasl.username": "u",
    }


def test_all_wrong_settings_are_reported_together() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(
            FetcherSettings, {"GSC_MAX_CONCURRENCY": "0", "GSC_QUOTA_HEADROOM": "much", "GSC_API_ROOT": "ftp://x"}
        )
    told = {line.partition(":")[0] for line in caught.value.problems}
    assert told == {
        "GSC_KAFKA_BOOTSTRAP_SERVERS",
        "GSC_CATALOG",
        "GSC_MAX_CONCURRENCY",
        "GSC_QUOTA_HEADROOM",
        "GSC_API_ROOT",
    }
    assert any("got '0'" in line for line in caught.value.problems)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("GSC_API_ROOT", "http://[::1", "not a URL"),
        ("GSC_API_ROOT", "http://localhost:abc", "not a URL"),
        ("GSC_API_ROOT", "http://localhost:99999", "the port is not from 1 to 65535"),
        ("GSC_API_ROOT", "http://a..b", "not a URL"),
        ("GSC_API_ROOT", "http://localhost?x=1", "no query"),
        ("GSC_SESSION_TIMEOUT_S", "nan", "finite"),
        ("GSC_SESSION_TIMEOUT_S", "1e12", "less than or equal to 60"),
        ("GSC_HTTP_TIMEOUT_S", "inf", "finite"),
        ("GSC_DRAIN_S", "1e12", "less than or equal to 3600"),
        ("GSC_SITE_QPS", "nan", "finite"),
        ("GSC_MAX_CONCURRENCY", "1000000", "less than or equal to 2000"),
        ("GSC_DEAD_LETTER_RATIO", "1e-300", "greater than or equal to 0.001"),
        ("GSC_DAILY_CRON", "30 5 * *", "not a line of cron with five fields"),
        ("GSC_DAILY_CRON", "0 0 31 2 *", "no day is like that"),
        ("GSC_DAILY_CRON", "* * * * * *", "seconds, would be every one"),
        ("GSC_KAFKA_SASL_PASSWORD", "\udcff", "not UTF-8"),
    ],
)
def test_an_invalid_setting_is_reported_with_its_variable(name: str, value: str, text: str) -> None:
    model = ProducerSettings if name == "GSC_DAILY_CRON" else FetcherSettings
    with pytest.raises(SettingsError) as caught:
        read_settings(model, {**GOOD, "GSC_POSTGRES_DSN": "x", name: value})
    [line] = caught.value.problems
    assert line.startswith(f"{name}: ")
    assert text in line
