"""Kafka asked about itself: topics, and how far groups are behind. Each question is a whole in a thread.

Committed offsets are asked for by a consumer that never joins: the admin client's ListConsumerGroupOffsets crashes the
process when the group's coordinator moves (librdkafka's answer goes to a consumer group that an admin client lacks;
seen with 2.16).
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from pipeline.contracts import topics
from pipeline.contracts.records import PartitionLag
from pipeline.errors import Retryable
from pipeline.kafka import TIMEOUT_S, admin_configuration, as_flow, consumer_configuration
from pipeline.retrying import with_retries

T = TypeVar("T")


async def reachable(configuration: Mapping[str, str], timeout_s: float = 5.0) -> None:
    """Return when a broker answers; else raise Retryable that says why, or Invalid for wrong settings."""
    told: list[KafkaError] = []
    admin = _admin(configuration, told.append)
    try:
        await asyncio.to_thread(admin.list_topics, timeout=timeout_s)
    except KafkaException as error:
        # The exception says only that nobody answered; whether it was the network, TLS or the password is told aside.
        admin.poll(0)
        causes = [cause for cause in told if cause.code() != KafkaError._ALL_BROKERS_DOWN]
        cause = (causes or error.args)[-1]
        servers = configuration.get("bootstrap.servers", "")
        raise Retryable(f"Kafka: {servers} cannot be reached: {cause.str()}") from error


async def ensure_topics(configuration: Mapping[str, str], prefix: str, *, replication: int = -1) -> list[str]:
    """Create the topics that are missing; returns their names once every partition has a leader.

    -1 leaves replication to the broker's default.
    """
    admin = _admin(configuration)
    wanted = [
        NewTopic(
            topic.full_name(prefix),
            num_partitions=topic.partitions,
            replication_factor=replication,
            config=topic.config,
        )
        for topic in topics.ALL
    ]
    created = await _asked("creating topics", lambda: _create(admin, wanted))
    partitions = [TopicPartition(new.topic, number) for new in wanted for number in range(new.num_partitions)]
    usable = [item for item in partitions if item.topic in created]
    await with_retries(lambda: _asked("new topics", lambda: _listed(admin, usable, OffsetSpec.latest())))
    return created


def _create(admin: AdminClient, wanted: list[NewTopic]) -> list[str]:
    created = []
    for name, future in admin.create_topics(wanted, request_timeout=TIMEOUT_S).items():
        try:
            future.result()
            created.append(name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    return created


async def partition_count(configuration: Mapping[str, str], topic: str) -> int:
    """How many partitions a topic has. Raises Retryable."""
    admin = _admin(configuration)
    return await _asked(topic, lambda: len(admin.list_topics(topic, TIMEOUT_S).topics[topic].partitions))


async def check_topics(configuration: Mapping[str, str], prefix: str) -> list[str]:
    """What differs from the table in `contracts.topics`, a line each; nothing is changed."""
    admin = _admin(configuration)
    return await _asked("describing topics", lambda: _differences(admin, prefix))


def _differences(admin: AdminClient, prefix: str) -> list[str]:
    existing = admin.list_topics(timeout=TIMEOUT_S).topics
    problems = []
    for topic in topics.ALL:
        name = topic.full_name(prefix)
        if name not in existing:
            problems.append(f"topic {name}: missing; `gsc-stream topics` creates it")
            continue
        if (found := len(existing[name].partitions)) != topic.partitions:
            problems.append(f"topic {name}: has {found} partitions, expected {topic.partitions}")
        problems += _differing_config(admin, topic, name)
    return problems


def _differing_config(admin: AdminClient, topic: topics.Topic, name: str) -> list[str]:
    resource = ConfigResource(ResourceType.TOPIC, name)
    entries = admin.describe_configs([resource], request_timeout=TIMEOUT_S)[resource].result()
    expected = topic.config["cleanup.policy"]
    found = entries["cleanup.policy"].value
    return [] if found == expected else [f"topic {name}: cleanup.policy is {found}, expected {expected}"]


class LagReader:
    """How far a group is behind on a topic."""

    def __init__(self, configuration: Mapping[str, str], *, group: str, topic: str) -> None:
        self._admin = _admin(configuration)
        self._asking = _asking(configuration, group)
        self._group = group
        self._topic = topic

    async def read(self) -> dict[int, PartitionLag]:
        """Lag by partition; one without a commit counts from its oldest message. Raises Retryable."""
        return await _asked(f"lag of {self._group}", self._read)

    async def total(self) -> int:
        """Messages behind, over all partitions. Raises Retryable."""
        return sum(partition.lag for partition in (await self.read()).values())

    def _read(self) -> dict[int, PartitionLag]:
        found = self._admin.list_topics(self._topic, TIMEOUT_S).topics[self._topic]
        partitions = [TopicPartition(self._topic, number) for number in found.partitions]
        committed = self._asking.committed(partitions, TIMEOUT_S)
        oldest = _listed(self._admin, partitions, OffsetSpec.earliest())
        newest = _listed(self._admin, partitions, OffsetSpec.latest())
        return {item.partition: _lag(item, oldest[item.partition], newest[item.partition]) for item in committed}


def _lag(committed: TopicPartition, oldest: int, newest: int) -> PartitionLag:
    if committed.error is not None:
        raise KafkaException(committed.error)
    start = max(committed.offset, oldest)  # without a commit the offset is negative
    return PartitionLag(start, newest, max(0, newest - start), committed.metadata or "")


def _listed(admin: AdminClient, partitions: list[TopicPartition], spec: OffsetSpec) -> dict[int, int]:
    futures = admin.list_offsets(dict.fromkeys(partitions, spec), request_timeout=TIMEOUT_S) if partitions else {}
    return {item.partition: future.result().offset for item, future in futures.items()}


def _admin(configuration: Mapping[str, str], on_error: Callable[[KafkaError], None] = lambda _: None) -> AdminClient:
    whole: dict[str, Any] = {**admin_configuration(configuration), "error_cb": on_error}
    try:
        return AdminClient(whole)
    except KafkaException as error:
        raise as_flow(error.args[0], "admin client") from error


def _asking(configuration: Mapping[str, str], group: str) -> Consumer:
    try:
        return Consumer(consumer_configuration(configuration, {"group.id": group, "enable.auto.commit": False}))
    except KafkaException as error:
        raise as_flow(error.args[0], "group offsets") from error


async def _asked(what: str, question: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(question)
    except KafkaException as error:
        raise as_flow(error.args[0], what) from error
