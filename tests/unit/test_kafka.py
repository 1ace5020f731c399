"""The deadlines of Kafka clients."""

import pytest

from pipeline.group_config import GroupConfig, member_configuration
from pipeline.kafka import admin_configuration, publisher_configuration

DEADLINES = {
    "socket.timeout.ms": "10000",
    "socket.connection.setup.timeout.ms": "10000",
    "socket.keepalive.enable": "true",
    "reconnect.backoff.max.ms": "5000",
}


def configurations(given: dict[str, str]) -> list[dict[str, object]]:
    return [
        member_configuration(given, GroupConfig("g", "t", 10.0)),
        publisher_configuration(given, "test"),
        admin_configuration(given),
    ]


@pytest.mark.parametrize("name", DEADLINES)
def test_every_client_has_deadlines_and_the_user_may_change_them(name: str) -> None:
    for configuration in configurations({}):
        assert configuration[name] == DEADLINES[name]
    for configuration in configurations({name: "7777"}):
        assert configuration[name] == "7777"


def test_a_message_is_given_up_well_before_its_loop_would_be_stalled() -> None:
    assert publisher_configuration({}, "test")["message.timeout.ms"] == "30000"
    assert "message.timeout.ms" not in member_configuration({}, GroupConfig("g", "t", 10.0))
