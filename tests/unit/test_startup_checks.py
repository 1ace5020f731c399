"""The check of librdkafka's settings before a service starts."""

import pytest

from pipeline.startup_checks import kafka_settings_problem

UNREACHABLE = {"bootstrap.servers": "127.0.0.1:1"}


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("group.protocol", "foo", 'GSC_KAFKA_GROUP_PROTOCOL: Invalid value "foo"'),
        ("fetch.min.bytes", "abc", "GSC_KAFKA_FETCH_MIN_BYTES: Invalid value"),
        ("acks", "1", "GSC_KAFKA_ACKS: "),  # contradicts idempotence, which the publisher requires
        ("security.protocol", "foo", 'GSC_KAFKA_SECURITY_PROTOCOL: Invalid value "foo"'),
        ("no.such", "x", "GSC_KAFKA_NO_SUCH: No such configuration property"),
        ("linger.ms", "-1", 'GSC_KAFKA_<NAME>: Configuration property "queue.buffering.max.ms" value -1'),  # an alias
        ("session.timeout.ms", "1", "GSC_KAFKA_SESSION_TIMEOUT_MS: "),
        ("default.topic.config", "x", "GSC_KAFKA_"),
    ],
)
def test_a_setting_that_librdkafka_refuses_is_one_line(name: str, value: str, line: str) -> None:
    problem = kafka_settings_problem({**UNREACHABLE, name: value}, 10.0)
    assert problem is not None
    assert problem.startswith(line)
    assert "\n" not in problem


def test_settings_that_exclude_each_other_are_refused() -> None:
    classic = {**UNREACHABLE, "group.protocol": "classic", "max.poll.interval.ms": "20000"}
    assert kafka_settings_problem(classic, 10.0) is None
    problem = kafka_settings_problem(classic, 30.0)
    assert problem is not None
    assert problem.startswith("GSC_KAFKA_MAX_POLL_INTERVAL_MS: ")


def test_a_secret_is_never_printed() -> None:
    for name in ("ssl.key.pem", "sasl.password"):
        wrong = {"security.protocol": "sasl_ssl", "sasl.mechanism": "hidden-value", name: "hidden-value"}
        problem = kafka_settings_problem({**UNREACHABLE, **wrong}, 10.0)
        assert problem is not None
        assert "hidden-value" not in problem


def test_valid_settings_are_accepted() -> None:
    valid = {**UNREACHABLE, "linger.ms": "50", "fetch.min.bytes": "1", "client.id": "x"}
    assert kafka_settings_problem(valid, 10.0) is None
