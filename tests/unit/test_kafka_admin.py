"""Topics that are created, without a broker."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from pipeline import kafka_admin
from pipeline.contracts.topics import ALL
from pipeline.errors import Retryable
from pipeline.kafka_admin import LEADER_ATTEMPTS, create_topics


class BusyBroker:
    """Creates topics at once, and elects the leaders of their partitions at the `elects_at`-th look."""

    def __init__(self, elects_at: int) -> None:
        self._elects_at = elects_at
        self.looks = 0

    def create_topics(self, topics: list[Any], **_: Any) -> dict[str, Any]:
        return {topic.topic: SimpleNamespace(result=lambda: None) for topic in topics}

    def list_offsets(self, *_: Any) -> dict[int, int]:
        self.looks += 1
        if self.looks < self._elects_at:
            raise KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION))
        return {}


def use(broker: BusyBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_admin, "admin_client", lambda _: broker)
    monkeypatch.setattr(kafka_admin, "list_offsets", broker.list_offsets)
    monkeypatch.setattr(kafka_admin, "LEADER_DELAY_S", 0.0)


async def test_topics_are_created_when_a_busy_broker_has_elected_every_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    use(broker := BusyBroker(elects_at=40), monkeypatch)
    assert len(await create_topics({}, "test")) == len(ALL)
    assert broker.looks == 40


async def test_a_broker_that_elects_no_leader_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    use(broker := BusyBroker(elects_at=1000), monkeypatch)
    with pytest.raises(Retryable, match="new topics"):
        await create_topics({}, "test")
    assert broker.looks == LEADER_ATTEMPTS
