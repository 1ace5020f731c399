"""librdkafka's settings are told by the names of their variables."""

import pytest

from pipeline.startup_checks import kafka_settings_problems

NOBODY = {"bootstrap.servers": "127.0.0.1:1"}


@pytest.mark.parametrize(
    ("name", "value", "variable"),
    [
        ("group.protocol", "foo", "GSC_KAFKA_GROUP_PROTOCOL"),
        ("session.timeout.ms", "abc", "GSC_KAFKA_SESSION_TIMEOUT_MS"),
        ("linger.ms", "abc", "GSC_KAFKA_LINGER_MS"),  # librdkafka calls it queue.buffering.max.ms
        ("acks", "1", "GSC_KAFKA_ACKS"),  # against what we insist on
        ("security.protocol", "foo", "GSC_KAFKA_SECURITY_PROTOCOL"),
        ("no.such", "x", "GSC_KAFKA_NO_SUCH"),
        ("default.topic.config", "x", "GSC_KAFKA_DEFAULT_TOPIC_CONFIG"),
    ],
)
def test_a_setting_that_no_client_takes(name: str, value: str, variable: str) -> None:
    [line] = kafka_settings_problems({**NOBODY, name: value}, 10.0)
    assert line.startswith(f"{variable}: ")
    assert line.endswith(f", got {value!r}")


def test_settings_that_do_not_go_together() -> None:
    classic = {**NOBODY, "group.protocol": "classic", "max.poll.interval.ms": "20000"}
    assert kafka_settings_problems(classic, 10.0) == []
    [line] = kafka_settings_problems(classic, 30.0)
    assert line.startswith("GSC_KAFKA_MAX_POLL_INTERVAL_MS: ")


def test_each_is_told_and_no_secret() -> None:
    wrong = {"linger.ms": "abc", "acks": "abc", "ssl.key.pem": "hidden", "security.protocol": "ssl"}
    lines = kafka_settings_problems({**NOBODY, **wrong}, 10.0)
    told = {line.partition(":")[0] for line in lines}
    assert told == {"GSC_KAFKA_LINGER_MS", "GSC_KAFKA_ACKS", "GSC_KAFKA_SSL_KEY_PEM"}
    assert "hidden" not in "".join(lines)


def test_what_works_is_taken() -> None:
    assert kafka_settings_problems({**NOBODY, "linger.ms": "50", "fetch.min.bytes": "1", "client.id": "x"}, 10.0) == []
