"""Administration of Kafka: reachability and topics. Each request blocks in a thread."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from pipeline.contracts import topics
from pipeline.errors import Retryable
from pipeline.kafka import TIMEOUT_S, admin_configuration, as_pipeline_error
from pipeline.retry import with_retries

LEADER_ATTEMPTS, LEADER_DELAY_S = 60, 1.0
"""A busy broker may take a minute to elect the leaders of new partitions."""

T = TypeVar("T")


async def check_reachable(configuration: Mapping[str, str], timeout_s: float = 5.0) -> None:
    """Return when a broker answers. Raises Retryable with the cause, or Invalid for wrong settings."""
    reported: list[KafkaError] = []
    admin = admin_client(configuration, reported.append)
    try:
        await asyncio.to_thread(admin.list_topics, timeout=timeout_s)
    except KafkaException as error:
        # The exception only says that no broker answered. The error callback has the cause: network, TLS or password.
        admin.poll(0)
        causes = [cause for cause in reported if cause.code() != KafkaError._ALL_BROKERS_DOWN]
        cause = (causes or error.args)[-1]
        servers = configuration.get("bootstrap.servers", "")
        raise Retryable(f"Kafka: {servers} cannot be reached: {cause.str()}") from error


async def create_topics(
    configuration: Mapping[str, str], prefix: str, *, replication: int = -1, partitions: int | None = None
) -> list[str]:
    """Create missing topics; returns their names once every partition has a leader.

    `replication` -1: the broker's default. `partitions`: of batches and results; None: as in `contracts.topics`.
    """
    admin = admin_client(configuration)
    topics_ = [
        NewTopic(
            topic.full_name(prefix),
            num_partitions=partitions if partitions and topic in topics.SCALABLE else topic.partitions,
            replication_factor=replication,
            config=topic.config,
        )
        for topic in topics.ALL
    ]
    created = await ask("creating topics", lambda: _create_missing(admin, topics_))
    all_partitions = [TopicPartition(new.topic, number) for new in topics_ for number in range(new.num_partitions)]
    usable = [item for item in all_partitions if item.topic in created]
    await with_retries(
        lambda: ask("new topics", lambda: list_offsets(admin, usable, OffsetSpec.latest())),
        attempts=LEADER_ATTEMPTS,
        longest_delay_s=LEADER_DELAY_S,
    )
    return created


def _create_missing(admin: AdminClient, new_topics: list[NewTopic]) -> list[str]:
    created = []
    for name, future in admin.create_topics(new_topics, request_timeout=TIMEOUT_S).items():
        try:
            future.result()
            created.append(name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    return created


async def partition_count(configuration: Mapping[str, str], topic: str) -> int:
    """Return the number of partitions of a topic. Raises Retryable."""
    admin = admin_client(configuration)
    return await ask(topic, lambda: len(admin.list_topics(topic, TIMEOUT_S).topics[topic].partitions))


async def check_topics(configuration: Mapping[str, str], prefix: str) -> list[str]:
    """Return the differences from the table in `contracts.topics`, one line each. Changes nothing."""
    admin = admin_client(configuration)
    return await ask("describing topics", lambda: _differences(admin, prefix))


def _differences(admin: AdminClient, prefix: str) -> list[str]:
    existing = admin.list_topics(timeout=TIMEOUT_S).topics
    problems = []
    for topic in topics.ALL:
        name = topic.full_name(prefix)
        if name not in existing:
            problems.append(f"topic {name}: missing; `gsc-stream topics` creates it")
            continue
        if topic not in topics.SCALABLE and (found := len(existing[name].partitions)) != topic.partitions:
            problems.append(f"topic {name}: has {found} partitions, expected {topic.partitions}")
        problems += _differing_config(admin, topic, name)
    return problems


def _differing_config(admin: AdminClient, topic: topics.Topic, name: str) -> list[str]:
    resource = ConfigResource(ResourceType.TOPIC, name)
    entries = admin.describe_configs([resource], request_timeout=TIMEOUT_S)[resource].result()
    expected = topic.config["cleanup.policy"]
    found = entries["cleanup.policy"].value
    return [] if found == expected else [f"topic {name}: cleanup.policy is {found}, expected {expected}"]


def list_offsets(admin: AdminClient, partitions: list[TopicPartition], spec: OffsetSpec) -> dict[int, int]:
    """Return the offset that `spec` selects, by partition. Blocks. Raises KafkaException."""
    futures = admin.list_offsets(dict.fromkeys(partitions, spec), request_timeout=TIMEOUT_S) if partitions else {}
    return {item.partition: future.result().offset for item, future in futures.items()}


async def group_sizes(configuration: Mapping[str, str], groups: list[str]) -> dict[str, int]:
    """Return how many members each consumer group has; 0 for a group that does not exist. Raises Retryable."""
    admin = admin_client(configuration)
    return await ask("members of consumer groups", lambda: {group: _size(admin, group) for group in groups})


def _size(admin: AdminClient, group: str) -> int:
    try:
        return len(admin.describe_consumer_groups([group], request_timeout=TIMEOUT_S)[group].result().members)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return 0
        raise


def admin_client(
    configuration: Mapping[str, str], on_error: Callable[[KafkaError], None] = lambda _: None
) -> AdminClient:
    """Return an admin client. It calls `on_error` with errors that no exception carries."""
    whole: dict[str, Any] = {**admin_configuration(configuration), "error_cb": on_error}
    try:
        return AdminClient(whole)
    except KafkaException as error:
        raise as_pipeline_error(error.args[0], "admin client") from error


async def ask(what: str, request: Callable[[], T]) -> T:
    """Run a blocking request in a thread. Raises the errors of `pipeline.errors`."""
    try:
        return await asyncio.to_thread(request)
    except KafkaException as error:
        raise as_pipeline_error(error.args[0], what) from error
