"""The lag of a consumer group.

Committed offsets are read by a consumer that never joins: the admin client's ListConsumerGroupOffsets crashes the
process when the group's coordinator moves (librdkafka 2.16 hands its answer to a consumer group that an admin client
lacks).
"""

from collections.abc import Mapping
from typing import Protocol

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from pipeline.contracts.records import PartitionLag
from pipeline.kafka import TIMEOUT_S, as_pipeline_error, consumer_configuration
from pipeline.kafka_admin import admin_client, ask, list_offsets


class Lag(Protocol):
    """The lag of a consumer group on one topic."""

    async def read(self) -> dict[int, PartitionLag]:
        """Return the lag by partition. Raises Retryable."""

    async def total(self) -> int:
        """Return the lag of all partitions together, in messages. Raises Retryable."""


class LagReader:
    """Reads the lag of a group on a topic from Kafka."""

    def __init__(self, configuration: Mapping[str, str], *, group: str, topic: str) -> None:
        self._admin = admin_client(configuration)
        self._consumer = _consumer(configuration, group)
        self._group = group
        self._topic = topic

    async def read(self) -> dict[int, PartitionLag]:
        """Return the lag by partition. Without a commit it counts from the oldest message. Raises Retryable."""
        return await ask(f"lag of {self._group}", self._read)

    async def total(self) -> int:
        """Return the lag of all partitions together, in messages. Raises Retryable."""
        return sum(partition.lag for partition in (await self.read()).values())

    def _read(self) -> dict[int, PartitionLag]:
        topic = self._admin.list_topics(self._topic, TIMEOUT_S).topics[self._topic]
        partitions = [TopicPartition(self._topic, number) for number in topic.partitions]
        committed = self._consumer.committed(partitions, TIMEOUT_S)
        oldest = list_offsets(self._admin, partitions, OffsetSpec.earliest())
        newest = list_offsets(self._admin, partitions, OffsetSpec.latest())
        return {item.partition: _lag(item, oldest[item.partition], newest[item.partition]) for item in committed}


def _lag(committed: TopicPartition, oldest: int, newest: int) -> PartitionLag:
    if committed.error is not None:
        raise KafkaException(committed.error)
    start = max(committed.offset, oldest)  # without a commit the offset is negative
    return PartitionLag(start, newest, max(0, newest - start), committed.metadata or "")


def _consumer(configuration: Mapping[str, str], group: str) -> Consumer:
    try:
        return Consumer(consumer_configuration(configuration, {"group.id": group, "enable.auto.commit": False}))
    except KafkaException as error:
        raise as_pipeline_error(error.args[0], "group offsets") from error
