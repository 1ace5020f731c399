"""How a service takes part in a consumer group."""

from collections.abc import Mapping
from typing import NamedTuple

from pipeline.kafka import consumer_configuration

ANSWER_EVERY_S = 2.0
"""How often a member asks the brokers something, so that it notices their silence."""


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
        "statistics.interval.ms": 1000,
    }
    if protocol == "classic":
        required |= {
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": int(group.session_timeout_s * 1000),
            "heartbeat.interval.ms": int(group.session_timeout_s * 300),
        }
    # Results are large: the default prefetch of 64 MB would be most of a process's memory.
    defaults = {
        "queued.max.messages.kbytes": "16384",
        "fetch.message.max.bytes": "1048576",
        # A member without partitions asks for nothing else, and has a heartbeat every 5 seconds only.
        "topic.metadata.refresh.interval.ms": f"{ANSWER_EVERY_S * 1000:.0f}",
    }
    return consumer_configuration({**defaults, **configuration}, required)
