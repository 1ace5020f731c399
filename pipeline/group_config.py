"""How a service takes part in a consumer group."""

from collections.abc import Mapping
from typing import NamedTuple

from pipeline.kafka import consumer_configuration


class GroupConfig(NamedTuple):
    """Group id and topic. `session_timeout_s` must not exceed the broker's session timeout for the group."""

    id: str
    topic: str
    session_timeout_s: float
    revoke_s: float = 0.0
    """How long the handler may take to give partitions back."""


def member_configuration(configuration: Mapping[str, str], group: GroupConfig) -> dict[str, object]:
    """Return the configuration of a group member."""
    protocol = configuration.get("group.protocol", "consumer")
    required: dict[str, object] = {
        "group.id": group.id,
        "group.protocol": protocol,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "statistics.interval.ms": 2000,
    }
    if protocol == "classic":
        required |= {
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": int(group.session_timeout_s * 1000),
            "heartbeat.interval.ms": int(group.session_timeout_s * 300),
        }
    # Results are large: the default prefetch of 64 MB would be most of a process's memory.
    defaults = {"queued.max.messages.kbytes": "16384", "fetch.message.max.bytes": "1048576"}
    return consumer_configuration({**defaults, **configuration}, required)
