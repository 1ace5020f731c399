"""The one door to Kafka: configuration and publishing. Consuming and the admin client are next door.

What waits is asynchronous and raises the flows of `pipeline.errors`.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException

from pipeline.contracts.records import Position, Record
from pipeline.contracts.topics import DEAD_LETTERS
from pipeline.errors import Fatal, Invalid, PipelineError, Retryable
from pipeline.metrics import counter

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
    defaults = {
        "client.id": client_id,
        "compression.type": "lz4",
        "linger.ms": "5",
        "partitioner": "murmur2_random",
        # Each topic's own limit is the broker's to hold; the dead letters' is larger than the others'.
        "message.max.bytes": str(DEAD_LETTERS.max_bytes),
    }
    return {**defaults, **theirs, "enable.idempotence": "true", "logger": _log}


def admin_configuration(configuration: Mapping[str, str]) -> dict[str, Any]:
    """What an admin client gets."""
    theirs = {n: v for n, v in configuration.items() if not _is_consumer_only(n) and not _is_producer_only(n)}
    return {**theirs, "logger": _log}


def is_fatal(error: KafkaError) -> bool:
    """Whether the client cannot go on. Errors that come in a message's place have the code, and not the mark."""
    return bool(error.fatal()) or error.code() == KafkaError._FATAL


def as_flow(error: KafkaError, what: str) -> PipelineError:
    """A Kafka error as the flow that it is."""
    text = f"Kafka: {what}: {error.str()}"
    if error.code() in (KafkaError._INVALID_ARG, KafkaError._UNKNOWN_PROTOCOL):
        return Invalid(f"{error.str()} (set as GSC_KAFKA_<NAME>)", field="Kafka configuration")
    if is_fatal(error) or error.code() in _FORBIDDEN:
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


@asynccontextmanager
async def publishing(configuration: Mapping[str, str], client_id: str) -> AsyncIterator[Publisher]:
    """A publisher for the length of a block."""
    publisher = Publisher(configuration, client_id)
    try:
        yield publisher
    finally:
        await publisher.close()


def _settle(
    acknowledged: "asyncio.Future[Position]", error: KafkaError | None, message: confluent_kafka.Message
) -> None:
    if acknowledged.done():  # whoever waited was cancelled
        return
    if error is not None:
        acknowledged.set_exception(as_flow(error, message.topic() or ""))
    else:
        acknowledged.set_result(Position(message.partition() or 0, message.offset() or 0))


def record_of(message: confluent_kafka.Message) -> Record:
    """A message that was read, as a value."""
    return Record(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        key=_bytes(message.key()),
        value=_bytes(message.value()),
        timestamp_ms=message.timestamp()[1],
        headers=_headers(message.headers()),
    )


def _headers(headers: Any) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, _bytes(value) or b"") for name, value in headers or ())


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
