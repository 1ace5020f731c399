"""What all Kafka clients share: configuration, mapping of errors to `pipeline.errors`, and messages as values."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import confluent_kafka
import msgspec
from confluent_kafka import KafkaError
from confluent_kafka.aio import AIOConsumer

from pipeline.contracts.records import Record
from pipeline.contracts.topics import DEAD_LETTERS
from pipeline.errors import Fatal, Invalid, PipelineError, Retryable
from pipeline.log import logger
from pipeline.refusals import Refusals

TIMEOUT_S = 10.0
CLOSE_S = 5.0
Headers = Sequence[tuple[str, bytes]]

# `GSC_KAFKA_<NAME>` reaches all clients, and librdkafka warns about settings that a kind of client does not use.
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
    """Return the consumer group of a service."""
    return f"{prefix}.{service}"


def _is_consumer_only(name: str) -> bool:
    return name.startswith(_CONSUMER_ONLY) or name in _CONSUMER_ONLY_NAMES


def _is_producer_only(name: str) -> bool:
    return name.startswith(_PRODUCER_ONLY) or name in _PRODUCER_ONLY_NAMES


_DEADLINES: Mapping[str, str] = {
    "socket.timeout.ms": "10000",  # how long a request waits for its answer; librdkafka's default is a minute
    "socket.connection.setup.timeout.ms": "10000",
    "socket.keepalive.enable": "true",
    "reconnect.backoff.max.ms": "5000",
}
"""Deadlines that every client has, unless the user's settings override them."""


def consumer_configuration(configuration: Mapping[str, str], required: Mapping[str, Any]) -> dict[str, Any]:
    """Return a consumer's configuration: the user's settings, overridden by `required`.

    `group.protocol` is for members of a group, which require it; consumers that never join one do without.
    """
    given = {n: v for n, v in configuration.items() if not _is_producer_only(n) and n != "group.protocol"}
    return {**_DEADLINES, **given, **required, "logger": _log}


def publisher_configuration(configuration: Mapping[str, str], client_id: str) -> dict[str, Any]:
    """Return a publisher's configuration: acknowledged by all replicas, in order, without duplicates."""
    given = {name: value for name, value in configuration.items() if not _is_consumer_only(name)}
    defaults = {
        **_DEADLINES,
        "message.timeout.ms": "30000",  # of a message without an acknowledgement; the default is five minutes
        "client.id": client_id,
        "compression.type": "lz4",
        "linger.ms": "5",
        # The broker enforces each topic's own limit; that of the dead letters is the largest.
        "message.max.bytes": str(DEAD_LETTERS.max_bytes),
    }
    required = {"enable.idempotence": "true", "partitioner": "murmur2_random"}  # pipeline.partitioner
    return {**defaults, **given, **required, "logger": _log}


def admin_configuration(configuration: Mapping[str, str]) -> dict[str, Any]:
    """Return an admin client's configuration."""
    given = {n: v for n, v in configuration.items() if not _is_consumer_only(n) and not _is_producer_only(n)}
    return {**_DEADLINES, **given, "logger": _log}


async def close_consumer(consumer: AIOConsumer) -> None:
    """Close a consumer; give up after a time limit, since librdkafka waits for a broker that may not answer."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await consumer.close()
    except TimeoutError:
        logger(__name__).warning("consumer_not_closed", limit_s=CLOSE_S)


def is_fatal(error: KafkaError) -> bool:
    """Return whether the client cannot continue. An error in place of a message has the code but not the flag."""
    return bool(error.fatal()) or error.code() == KafkaError._FATAL


def is_refused_for_long(error: KafkaError, refusals: Refusals, now: float) -> bool:
    """Return whether the brokers have refused the credentials for too long; counts this refusal."""
    return error.code() == KafkaError._AUTHENTICATION and refusals.refused(now)


def as_pipeline_error(error: KafkaError, what: str) -> PipelineError:
    """Return a Kafka error as one of `pipeline.errors`."""
    text = f"Kafka: {what}: {error.str()}"
    if error.code() in _SETTINGS:
        return Invalid(f"{error.str()} (set as GSC_KAFKA_<NAME>)", field="Kafka configuration")
    if is_fatal(error) or error.code() in _FORBIDDEN:
        return Fatal(text)
    if error.code() in _TOO_LARGE:
        return Invalid(text)
    return Retryable(text)


_SETTINGS = frozenset({KafkaError._INVALID_ARG, KafkaError._UNKNOWN_PROTOCOL})
_TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
_FORBIDDEN = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError._AUTHENTICATION,
    }
)


class _Broker(msgspec.Struct):
    state: str = ""
    """`UP` when authenticated."""
    rx: int = 0
    """Responses received."""


class _Statistics(msgspec.Struct):
    brokers: dict[str, _Broker] = {}


def responses_received(statistics: str) -> int:
    """Return the number of responses of the brokers that are connected, from librdkafka's statistics."""
    brokers = msgspec.json.decode(statistics, type=_Statistics).brokers.values()
    return sum(broker.rx for broker in brokers if broker.state == "UP")


def record_of(message: confluent_kafka.Message) -> Record:
    """Return a message as a value."""
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
