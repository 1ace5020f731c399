"""What a member of a consumer group makes of librdkafka's statistics and errors."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.aio import AIOConsumer

from pipeline import commit_requests, consumer_group
from pipeline.clock import monotonic
from pipeline.commit_requests import CommitRequests
from pipeline.consumer_group import ANSWER_LIMIT_S, IDLE_AFTER_S, GroupMember
from pipeline.errors import Fatal, Retryable
from pipeline.group_config import GroupConfig
from pipeline.kafka import responses_received
from pipeline.offsets import OffsetCommit
from pipeline.refusals import REFUSED_LIMIT_S
from support.wait import until

STATISTICS = """{"name": "rdkafka#consumer-1", "ts": 5016483227792, "brokers": {
  "localhost:9092/2": {"name": "localhost:9092/2", "state": "UP", "rx": 320, "rxbytes": 15708},
  "GroupCoordinator": {"name": "GroupCoordinator", "state": "UP", "rx": 7},
  "localhost:9093/3": {"name": "localhost:9093/3", "state": "AUTH_REQ", "rx": 99}}, "topics": {}}"""


def test_the_responses_of_connected_brokers_are_counted() -> None:
    assert responses_received(STATISTICS) == 327


def test_without_a_broker_there_are_none() -> None:
    assert responses_received('{"brokers": {}}') == responses_received("{}") == 0


async def test_a_member_without_partitions_is_idle_and_ready_after_a_while() -> None:
    member = GroupMember({"bootstrap.servers": "127.0.0.1:9"}, GroupConfig("group", "topic", 45.0))
    began = monotonic()
    assert member.not_ready(began) == "no partitions yet"
    member.answers.beat(began + IDLE_AFTER_S)
    assert member.not_ready(began + IDLE_AFTER_S + 1) is None
    silent = member.not_ready(began + IDLE_AFTER_S + ANSWER_LIMIT_S + 1)
    assert silent is not None
    assert silent.startswith("Kafka: no progress")
    await member._consumer.close()


async def test_a_member_with_partitions_is_not_ready_when_kafka_is_silent() -> None:
    """Its lease may last for a minute more."""
    member = GroupMember({"bootstrap.servers": "127.0.0.1:9"}, GroupConfig("group", "topic", 60.0))
    member._held.add(0)
    member._commits.renew_lease(monotonic())
    assert member.not_ready(monotonic()) is None
    assert "Kafka" in (member.not_ready(monotonic() + ANSWER_LIMIT_S + 1) or "")
    assert member.not_ready(monotonic() + 61) == "no lease on the partitions"


async def test_a_member_whose_credentials_are_refused_for_a_minute_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(consumer_group, "monotonic", lambda: now)
    member = GroupMember({"bootstrap.servers": "127.0.0.1:1"}, GroupConfig("g", "t", 6.0))
    refused = KafkaError(KafkaError._AUTHENTICATION, "SASL authentication error: wrong password")
    try:
        await member._on_error(refused)
        now += REFUSED_LIMIT_S
        await member._on_statistics(STATISTICS)  # a broker has answered
        await member._on_error(refused)
        now += REFUSED_LIMIT_S
        await member._on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN))
        await member._on_error(refused)
        await member._poll()
        now += 1
        await member._on_error(refused)
        with pytest.raises(Fatal, match="wrong password"):
            await member._poll()
    finally:
        await member._consumer.close()


class SlowConsumer:
    """A consumer whose commits wait to be released."""

    def __init__(self, error: Exception | None = None) -> None:
        self.committing = asyncio.Event()
        self.release = asyncio.Event()
        self.closed = False
        self._error = error

    async def subscribe(self, *_: Any, **__: Any) -> None:
        pass

    async def commit(self, **_: Any) -> list[Any]:
        self.committing.set()
        await self.release.wait()
        if self.closed:
            raise RuntimeError("Consumer closed")
        if self._error is not None:
            raise self._error
        return []

    async def close(self) -> None:
        self.closed = True


class IdleHandler:
    """A handler of partitions that has nothing to commit."""

    async def revoked(self, partitions: Sequence[int]) -> None:
        pass


async def test_a_stop_waits_for_a_commit_that_is_being_sent() -> None:
    member = GroupMember({"bootstrap.servers": "127.0.0.1:9"}, GroupConfig("group", "topic", 45.0))
    await member._consumer.close()
    consumer = member._consumer = SlowConsumer()  # type: ignore[assignment]
    member._held.add(0)
    stop = asyncio.Event()
    stop.set()
    commit = asyncio.create_task(member.commit([OffsetCommit(0, 1)]))
    await consumer.committing.wait()
    running = asyncio.create_task(member.run(stop, IdleHandler()))  # type: ignore[arg-type]
    await until(lambda: member._is_closing, 60, "the stop waits")
    consumer.release.set()
    await running
    with pytest.raises(Retryable, match="the consumer is closed"):
        await commit


async def test_a_commit_that_cannot_be_sent_is_retried() -> None:
    member = GroupMember({"bootstrap.servers": "127.0.0.1:9"}, GroupConfig("group", "topic", 45.0))
    await member._consumer.close()
    consumer = member._consumer = SlowConsumer(KafkaException(KafkaError(KafkaError._STATE)))  # type: ignore[assignment]
    consumer.release.set()
    member._held.add(0)
    with pytest.raises(Retryable, match="Kafka: commit"):
        await member.commit([OffsetCommit(0, 1)])


class RefusingConsumer:
    """A consumer whose commits are refused with these errors, one after the other, and then succeed."""

    def __init__(self, *codes: int) -> None:
        self._codes = list(codes)
        self.commits = 0

    async def commit(self, **_: Any) -> list[TopicPartition]:
        self.commits += 1
        if self._codes:
            raise KafkaException(KafkaError(self._codes.pop(0)))
        return [TopicPartition("t", 0, 1)]


def as_consumer(consumer: RefusingConsumer) -> AIOConsumer:
    return cast("AIOConsumer", consumer)


async def test_a_commit_that_a_rebalance_refuses_is_sent_again_and_renews_the_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commit_requests, "RETRY_S", 0.0)
    requests = CommitRequests(session_timeout_s=6.0)
    refusals = KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS, KafkaError.STALE_MEMBER_EPOCH
    consumer = RefusingConsumer(*refusals)
    await requests.send_and_wait(as_consumer(consumer), [TopicPartition("t", 0, 1)])
    assert consumer.commits == 4
    assert requests.lease_until > monotonic()


async def test_a_commit_of_a_member_that_is_thrown_out_is_not_repeated() -> None:
    requests, consumer = CommitRequests(session_timeout_s=6.0), RefusingConsumer(KafkaError.UNKNOWN_MEMBER_ID)
    with pytest.raises(Retryable, match="Kafka: commit"):
        await requests.send_and_wait(as_consumer(consumer), [TopicPartition("t", 0, 1)])
    assert (consumer.commits, requests.lease_until) == (1, 0.0)


async def test_a_commit_is_given_up_when_the_rebalance_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_requests, "COMMIT_S", 0.0)
    requests, consumer = CommitRequests(session_timeout_s=6.0), RefusingConsumer(KafkaError.ILLEGAL_GENERATION)
    with pytest.raises(Retryable, match="Kafka: commit"):
        await requests.send_and_wait(as_consumer(consumer), [TopicPartition("t", 0, 1)])
    assert consumer.commits == 1
