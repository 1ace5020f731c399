"""A member of a consumer group on one topic: what fetcher and sink have in common.

confluent_kafka.aio runs each call to librdkafka in a thread, one at a time, and calls rebalance callbacks as coroutines
on our loop. A commit waits for the poll in progress, so polls are short.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Protocol

from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.aio import AIOConsumer

from pipeline.clock import monotonic
from pipeline.commit_requests import CommitRequests, answered
from pipeline.contracts.records import Record
from pipeline.errors import Fatal, Retryable
from pipeline.group_config import GroupConfig, member_configuration
from pipeline.kafka import (
    TIMEOUT_S,
    as_pipeline_error,
    close_consumer,
    is_fatal,
    is_refused_for_long,
    record_of,
    responses_received,
)
from pipeline.log import logger
from pipeline.metrics import counter, gauge
from pipeline.offsets import AssignedPartition, OffsetCommit
from pipeline.refusals import Refusals
from pipeline.watchdog import Heartbeat

POLL_S = 0.05
MAX_RECORDS = 500
POLL_LIMIT_S = 60.0
"""Longest time without a poll, for requests to the broker during a rebalance."""
ANSWER_LIMIT_S = 5.0
"""Time without a word of any broker after which a member is not ready."""
IDLE_AFTER_S = 30.0
"""Time without partitions after which a member is taken to be idle."""
_log = logger(__name__)
_in_callback: ContextVar[bool] = ContextVar("in_rebalance_callback", default=False)


class PartitionHandler(Protocol):
    """Processes the records of the assigned partitions."""

    async def assigned(self, partitions: Sequence[AssignedPartition]) -> None:
        """Handle newly assigned partitions, in addition to those already held."""

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Stop work on partitions, drain within a time limit, and commit. Afterwards they have another owner."""

    def lost(self, partitions: Sequence[int]) -> None:
        """Stop work on partitions that already have another owner; commit nothing."""

    async def receive(self, records: Sequence[Record]) -> None:
        """Queue records. Must return quickly: no poll happens meanwhile."""

    def wants_more(self) -> bool:
        """Return whether to continue reading. Pausing discards prefetched messages, so avoid toggling."""


class GroupMember:
    """Consumes until stopped, and holds a lease on its partitions.

    A successful commit proves membership at the time it was sent, so no other member owns the partitions until one
    session timeout later.
    """

    def __init__(self, configuration: Mapping[str, str], group: GroupConfig) -> None:
        """Raises Invalid for settings that librdkafka refuses. Needs a running event loop."""
        self._group = group
        self._held: set[int] = set()
        self._paused = False
        self._is_closing = False
        self._responses = 0
        self._refusals = Refusals()
        self._commits = CommitRequests(group.session_timeout_s)
        self._poll_began = 0.0
        self._failure: KafkaError | None = None
        self._lock = asyncio.Lock()
        try:
            callbacks = {"error_cb": self._on_error, "stats_cb": self._on_statistics, "on_commit": self._on_commit}
            settings = {**member_configuration(configuration, group), **callbacks}
            self._consumer = AIOConsumer(settings, max_workers=4)
        except KafkaException as error:
            raise as_pipeline_error(error.args[0], group.id) from error
        self.heartbeat = Heartbeat(f"consumer of {group.topic}", POLL_LIMIT_S + group.revoke_s, monotonic())
        self._idle_from = monotonic() + IDLE_AFTER_S
        self.answers = Heartbeat("Kafka", ANSWER_LIMIT_S, monotonic())
        """Beats whenever a broker has sent something: at least every ANSWER_EVERY_S while there is one."""

    @property
    def lease_until(self) -> float:
        """The end of the lease, on the monotonic clock. No call to the outside world may start later."""
        return self._commits.lease_until

    def not_ready(self, now: float) -> str | None:
        """Return why the member does not do its share of the work, or None.

        A member that was given no partition for IDLE_AFTER_S is idle and ready: the group has more members than
        partitions.
        """
        if self._held:
            return self.answers.stalled(now) if self.lease_until > now else "no lease on the partitions"
        return "no partitions yet" if now < self._idle_from else self.answers.stalled(now)

    async def run(self, stop: asyncio.Event, handler: PartitionHandler) -> None:
        """Consume until `stop`, then give the partitions back. Raises Fatal when the client cannot continue."""
        await self._subscribe(handler)
        try:
            while not stop.is_set():
                async with self._lock:
                    records = await self._poll()
                if records:
                    await handler.receive(records)
                await self._pace(handler)
        finally:
            self._is_closing = True
            async with self._lock:  # a commit that is being sent would find the consumer closed
                if self._held:
                    await self._give_back(handler, sorted(self._held))
                await close_consumer(self._consumer)
            self._commits.fail_all("the consumer is closed")

    async def _subscribe(self, handler: PartitionHandler) -> None:
        try:
            await self._consumer.subscribe(
                [self._group.topic],
                on_assign=partial(self._on_assign, handler),
                on_revoke=partial(self._on_revoke, handler),
                on_lost=partial(self._on_lost, handler),
            )
        except KafkaException as error:
            raise as_pipeline_error(error.args[0], self._group.id) from error

    async def _poll(self) -> list[Record]:
        consumer = self._consumer
        self._poll_began = monotonic()
        self.heartbeat.beat(self._poll_began)
        try:
            first = await consumer.poll(POLL_S)
            messages = [first, *await consumer.consume(MAX_RECORDS - 1, 0)] if first is not None else []
        except KafkaException as error:
            raise as_pipeline_error(error.args[0], self._group.topic) from error
        if self._failure is not None:
            raise Fatal(f"Kafka client: {self._failure.str()}")
        records = self._records(messages)
        counter("gsc_messages_consumed_total").labels(self._group.topic).inc(len(records))
        return records

    def _records(self, messages: Iterable[Message]) -> list[Record]:
        records = []
        for message in messages:
            if error := message.error():
                if is_fatal(error):
                    raise Fatal(f"Kafka client: {error.str()}")
                _log.warning("consume_error", topic=self._group.topic, error=error.str())
            elif message.partition() in self._held:
                records.append(record_of(message))
        return records

    async def _pace(self, handler: PartitionHandler) -> None:
        """Pause or resume all partitions, as the handler requests."""
        paused = not handler.wants_more()
        if paused == self._paused or not self._held:
            return
        consumer = self._consumer
        await (consumer.pause if paused else consumer.resume)(self._partitions(self._held))
        self._paused = paused

    def _partitions(self, numbers: Iterable[int]) -> list[TopicPartition]:
        return [TopicPartition(self._group.topic, number) for number in sorted(numbers)]

    async def commit(self, commits: Sequence[OffsetCommit]) -> None:
        """Commit offsets of partitions that are still held; success renews the lease. Raises Retryable."""
        if _in_callback.get():
            if offsets := self._offsets(commits):
                await self._commits.send_and_wait(self._consumer, offsets)
            return
        async with self._lock:  # not during a rebalance: the partitions may have another owner afterwards
            if not (offsets := self._offsets(commits)):
                return
            commit = await self._commits.send(self._consumer, offsets)
        await answered(commit)

    async def _on_commit(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        self._commits.settle(error, offsets)

    def _offsets(self, commits: Sequence[OffsetCommit]) -> list[TopicPartition]:
        return [
            TopicPartition(self._group.topic, partition, offset, metadata)
            for partition, offset, metadata in commits
            if partition in self._held
        ]

    async def _on_assign(
        self, handler: PartitionHandler, consumer: AIOConsumer, partitions: list[TopicPartition]
    ) -> None:
        if self._is_closing:  # librdkafka answers no more questions, and leaves the group when the callbacks are served
            await consumer.incremental_assign(partitions)
            return
        numbers = [item.partition for item in partitions]
        assigned = [await self._start_of(consumer, item) for item in await consumer.committed(partitions, TIMEOUT_S)]
        await consumer.incremental_assign(
            [TopicPartition(self._group.topic, item.partition, item.offset) for item in assigned]
        )
        if self._paused:
            await consumer.pause(self._partitions(numbers))
        self._held.update(numbers)
        # The broker confirmed the membership after the start of the poll that delivered this assignment.
        self._commits.renew_lease(self._poll_began)
        self._count("assigned", numbers)
        await handler.assigned(assigned)

    async def _start_of(self, consumer: AIOConsumer, committed: TopicPartition) -> AssignedPartition:
        if committed.offset != OFFSET_INVALID:
            return AssignedPartition(committed.partition, committed.offset, committed.metadata or "")
        oldest, _ = await consumer.get_watermark_offsets(
            TopicPartition(self._group.topic, committed.partition), timeout=TIMEOUT_S
        )
        return AssignedPartition(committed.partition, oldest, "")

    async def _on_revoke(
        self, handler: PartitionHandler, consumer: AIOConsumer, partitions: list[TopicPartition]
    ) -> None:
        numbers = [item.partition for item in partitions if item.partition in self._held]
        if numbers:
            await self._give_back(handler, numbers)
        await consumer.incremental_unassign(partitions)

    async def _give_back(self, handler: PartitionHandler, numbers: list[int]) -> None:
        inside = _in_callback.set(True)
        try:
            await handler.revoked(numbers)
        except Retryable as error:  # some work will be repeated, none is lost
            _log.warning("revoked_without_commit", partitions=numbers, error=str(error))
        finally:
            _in_callback.reset(inside)
        self._held.difference_update(numbers)
        self._count("revoked", numbers)

    async def _on_lost(
        self, handler: PartitionHandler, consumer: AIOConsumer, partitions: list[TopicPartition]
    ) -> None:
        numbers = [item.partition for item in partitions]
        self._held.difference_update(numbers)
        self._commits.end_lease()
        self._idle_from = monotonic() + IDLE_AFTER_S
        handler.lost(numbers)
        self._count("lost", numbers)
        await consumer.incremental_unassign(partitions)

    def _count(self, kind: str, numbers: Sequence[int]) -> None:
        counter("gsc_rebalances_total").labels(kind).inc(len(numbers))
        gauge("gsc_partitions_held").set(len(self._held))
        _log.info("partitions", kind=kind, topic=self._group.topic, partitions=sorted(numbers), held=len(self._held))

    async def _on_statistics(self, statistics: str) -> None:
        responses = responses_received(statistics)
        if responses > self._responses:
            self.answers.beat(monotonic())
            self._refusals.accepted()
        self._responses = responses

    async def _on_error(self, error: KafkaError) -> None:
        if is_fatal(error) or is_refused_for_long(error, self._refusals, monotonic()):
            self._failure = error
        else:
            _log.warning("kafka_unreachable", error=error.str())
