"""The one door to Kafka: configuration, publishing, topics and lag. Consuming is next door, in `consuming`.

Every function is asynchronous and raises the flows of `pipeline.errors`.
"""

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from pipeline.contracts import topics
from pipeline.contracts.records import PartitionLag, Position
from pipeline.errors import Fatal, Invalid, PipelineError, Retryable
from pipeline.telemetry import counter

TIMEOUT_S = 10.0
Headers = Sequence[tuple[str, bytes]]

# librdkafka warns when a client gets a setting of the other kind, and `GSC_KAFKA_<NAME>` reaches all clients.
_CONSUMER_ONLY = (
    "group.",
    "session.",
    "heartbeat.",
    "max.poll.",
    "fetch.",
    "queued.",
    "auto.",
    "enable.auto.",
    "isolation.",
)
_CONSUMER_ONLY_NAMES = frozenset(
    {"partition.assignment.strategy", "max.partition.fetch.bytes", "enable.partition.eof", "check.crcs"}
)
_PRODUCER_ONLY = ("linger.", "compression.", "batch.", "queue.buffering.", "transaction", "sticky.", "message.timeout")
_PRODUCER_ONLY_NAMES = frozenset({"acks", "request.required.acks", "retries", "partitioner", "enable.idempotence"})

_log = logging.getLogger("librdkafka")


def group_id(prefix: str, service: str) -> str:
    """The consumer group of a service."""
    return f"{prefix}.{service}"


def _is_consumer_only(name: str) -> bool:
    return name.startswith(_CONSUMER_ONLY) or name in _CONSUMER_ONLY_NAMES


def _is_producer_only(name: str) -> bool:
    return name.startswith(_PRODUCER_ONLY) or name in _PRODUCER_ONLY_NAMES


def consumer_configuration(configuration: Mapping[str, str], ours: Mapping[str, Any]) -> dict[str, Any]:
    """What a consumer gets: the user's settings, under what we insist on (`ours`)."""
    theirs = {name: value for name, value in configuration.items() if not _is_producer_only(name)}
    return {**theirs, **ours, "logger": _log}


def publisher_configuration(configuration: Mapping[str, str], client_id: str) -> dict[str, Any]:
    """What a publisher gets; acknowledged by all replicas, in order, without doubles."""
    theirs = {name: value for name, value in configuration.items() if not _is_consumer_only(name)}
    defaults = {"client.id": client_id, "compression.type": "lz4", "linger.ms": "5", "partitioner": "murmur2_random"}
    return {**defaults, **theirs, "enable.idempotence": "true", "logger": _log}


def admin_configuration(configuration: Mapping[str, str]) -> dict[str, Any]:
    """What an admin client gets."""
    theirs = {n: v for n, v in configuration.items() if not _is_consumer_only(n) and not _is_producer_only(n)}
    return {**theirs, "logger": _log}


def as_flow(error: KafkaError, what: str) -> PipelineError:
    """A Kafka error as the flow that it is."""
    text = f"Kafka: {what}: {error.str()}"
    if error.code() in (KafkaError._INVALID_ARG, KafkaError._UNKNOWN_PROTOCOL):
        return Invalid(f"{error.str()} (set as GSC_KAFKA_<NAME>)", field="Kafka configuration")
    if error.fatal() or error.code() in _FORBIDDEN:
        return Fatal(text)
    if error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE):
        return Invalid(text)
    return Retryable(text)


_FORBIDDEN = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError._AUTHENTICATION,
    }
)


class Publisher:
    """Writes messages; each is awaited until the broker has it.

    A bridge of our own, since confluent_kafka.aio's producer takes no headers: one thread serves the delivery reports
    and hands them to the loop.
    """

    def __init__(self, configuration: Mapping[str, str], client_id: str) -> None:
        try:
            self._producer = confluent_kafka.Producer(publisher_configuration(configuration, client_id))
        except KafkaException as error:
            raise as_flow(error.args[0], "publisher") from error
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="kafka-delivery-reports", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(0.2)

    async def publish(self, topic: str, key: str, value: bytes | None, headers: Headers = ()) -> Position:
        """Write one message and wait for its acknowledgement. Raises Retryable, Invalid (too large) or Fatal."""
        return await self._enqueue(topic, key.encode(), value, headers)

    async def publish_all(self, topic: str, messages: Sequence[tuple[str, bytes]]) -> list[Position]:
        """Write messages in their order and wait for all; the first error goes up once all have ended."""
        futures = [self._enqueue(topic, key.encode(), value, ()) for key, value in messages]
        results = await asyncio.gather(*futures, return_exceptions=True)
        if errors := [result for result in results if isinstance(result, BaseException)]:
            raise errors[0]
        return [result for result in results if isinstance(result, Position)]

    async def forward(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> Position:
        """Write a message with its key as it was read."""
        return await self._enqueue(topic, key, value, headers)

    async def _enqueue(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> Position:
        loop = asyncio.get_running_loop()
        acknowledged: asyncio.Future[Position] = loop.create_future()

        def delivered(error: KafkaError | None, message: confluent_kafka.Message) -> None:
            loop.call_soon_threadsafe(_settle, acknowledged, error, message)

        while True:
            try:
                self._producer.produce(topic, value=value, key=key, headers=list(headers), on_delivery=delivered)
                break
            except BufferError:  # librdkafka's queue is full: it drains as the broker takes it
                await asyncio.sleep(0.02)
            except KafkaException as error:
                raise as_flow(error.args[0], topic) from error
        position = await acknowledged
        counter("gsc_messages_published_total").labels(topic).inc()
        return position

    async def close(self) -> None:
        """Send what is queued (bounded) and stop."""
        await asyncio.to_thread(self._producer.flush, TIMEOUT_S)
        self._closing.set()
        await asyncio.to_thread(self._thread.join)


def _settle(
    acknowledged: "asyncio.Future[Position]", error: KafkaError | None, message: confluent_kafka.Message
) -> None:
    if acknowledged.done():  # whoever waited was cancelled
        return
    if error is not None:
        acknowledged.set_exception(as_flow(error, message.topic() or ""))
    else:
        acknowledged.set_result(Position(message.partition() or 0, message.offset() or 0))


def _admin(configuration: Mapping[str, str]) -> AdminClient:
    try:
        return AdminClient(admin_configuration(configuration))
    except KafkaException as error:
        raise as_flow(error.args[0], "admin client") from error


async def reachable(configuration: Mapping[str, str], timeout_s: float = 5.0) -> None:
    """Return when a broker answers; else raise Retryable that names the servers, or Invalid for wrong settings."""
    admin = _admin(configuration)
    try:
        await asyncio.to_thread(admin.list_topics, timeout=timeout_s)
    except KafkaException as error:
        servers = configuration.get("bootstrap.servers", "")
        flow = as_flow(error.args[0], f"{servers} cannot be reached")
        raise flow from error


async def ensure_topics(configuration: Mapping[str, str], prefix: str, *, replication: int = -1) -> list[str]:
    """Create the topics that are missing; returns their names. -1 leaves replication to the broker's default."""
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
    created = []
    for name, future in admin.create_topics(wanted, request_timeout=TIMEOUT_S).items():
        try:
            await asyncio.wrap_future(future)
            created.append(name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise as_flow(error.args[0], f"creating {name}") from error
    return created


async def check_topics(configuration: Mapping[str, str], prefix: str) -> list[str]:
    """What differs from the table in `contracts.topics`, a line each; nothing is changed."""
    admin = _admin(configuration)
    try:
        existing = (await asyncio.to_thread(admin.list_topics, timeout=TIMEOUT_S)).topics
    except KafkaException as error:
        raise as_flow(error.args[0], "listing topics") from error
    problems = []
    for topic in topics.ALL:
        name = topic.full_name(prefix)
        if name not in existing:
            problems.append(f"topic {name}: missing; `gsc-stream topics` creates it")
            continue
        if (found := len(existing[name].partitions)) != topic.partitions:
            problems.append(f"topic {name}: has {found} partitions, expected {topic.partitions}")
        problems += await _differing_config(admin, topic, name)
    return problems


async def _differing_config(admin: AdminClient, topic: topics.Topic, name: str) -> list[str]:
    resource = ConfigResource(ResourceType.TOPIC, name)
    try:
        entries = await asyncio.wrap_future(admin.describe_configs([resource])[resource])
    except KafkaException as error:
        raise as_flow(error.args[0], f"describing {name}") from error
    expected = topic.config["cleanup.policy"]
    found = entries["cleanup.policy"].value
    return [] if found == expected else [f"topic {name}: cleanup.policy is {found}, expected {expected}"]


class LagReader:
    """How far a group is behind on a topic."""

    def __init__(self, configuration: Mapping[str, str], *, group: str, topic: str) -> None:
        self._admin = _admin(configuration)
        self._group = group
        self._topic = topic

    async def read(self) -> dict[int, PartitionLag]:
        """Lag by partition; one without a commit counts from its oldest message. Raises Retryable."""
        try:
            metadata = await asyncio.to_thread(self._admin.list_topics, self._topic, TIMEOUT_S)
            partitions = [TopicPartition(self._topic, number) for number in metadata.topics[self._topic].partitions]
            committed, oldest, newest = await asyncio.gather(
                self._committed(),
                self._listed(partitions, OffsetSpec.earliest()),
                self._listed(partitions, OffsetSpec.latest()),
            )
        except KafkaException as error:
            raise as_flow(error.args[0], f"lag of {self._group}") from error
        return {number: _lag(committed.get(number, -1), oldest[number], newest[number]) for number in newest}

    async def total(self) -> int:
        """Messages behind, over all partitions."""
        return sum(partition.lag for partition in (await self.read()).values())

    async def _committed(self) -> dict[int, int]:
        request = confluent_kafka.ConsumerGroupTopicPartitions(self._group)
        future = self._admin.list_consumer_group_offsets([request], request_timeout=TIMEOUT_S)[self._group]
        answer = await asyncio.wrap_future(future)
        return {
            item.partition: item.offset
            for item in answer.topic_partitions or ()
            if item.topic == self._topic and item.offset >= 0
        }

    async def _listed(self, partitions: list[TopicPartition], spec: OffsetSpec) -> dict[int, int]:
        futures = self._admin.list_offsets(dict.fromkeys(partitions, spec), request_timeout=TIMEOUT_S)
        return {tp.partition: (await asyncio.wrap_future(future)).offset for tp, future in futures.items()}


def _lag(committed: int, oldest: int, newest: int) -> PartitionLag:
    start = max(committed, oldest)
    return PartitionLag(start, newest, max(0, newest - start))
