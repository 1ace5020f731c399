"""Reading a range of a topic, independent of its consumer groups."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from math import floor
from typing import NamedTuple, TypeVar

from confluent_kafka import Consumer, KafkaException, TopicPartition

from pipeline.contracts.records import Record
from pipeline.errors import Invalid, Retryable
from pipeline.kafka import TIMEOUT_S, as_pipeline_error, consumer_configuration, record_of

T = TypeVar("T")
MAX_RECORDS = 500
_SILENT_POLLS = 6


class OffsetRange(NamedTuple):
    """Offsets of one partition, from `start` up to `end`, exclusive."""

    start: int
    end: int

    @property
    def records(self) -> int:
        """The largest possible number of records: a compacted topic has gaps."""
        return max(0, self.end - self.start)


OffsetRanges = Mapping[int, OffsetRange]


class TopicReader:
    """Reads ranges of one topic. It joins no group and commits nothing."""

    def __init__(self, consumer: Consumer, topic: str) -> None:
        self._consumer = consumer
        self._topic = topic

    async def available(self) -> dict[int, OffsetRange]:
        """Return the offsets that the topic holds now, by partition. Raises Retryable."""
        return await self._run(self._whole)

    async def between(self, start: datetime | None, end: datetime | None) -> dict[int, OffsetRange]:
        """Return the offsets written in that time. Raises Invalid when Kafka no longer holds some of them."""
        whole = await self.available()
        starts = {n: span.start for n, span in whole.items()} if start is None else await self._at(start, whole)
        ends = {n: span.end for n, span in whole.items()} if end is None else await self._at(end, whole)
        if start is not None and any(span.start > 0 and starts[n] == span.start for n, span in whole.items()):
            await self._check_held(start, whole)
        return {number: OffsetRange(starts[number], max(starts[number], ends[number])) for number in whole}

    async def _check_held(self, start: datetime, whole: OffsetRanges) -> None:
        # Only a partition whose beginning was deleted can lack records.
        cut = {number: OffsetRange(span.start, span.start + 1) for number, span in whole.items() if span.start > 0}
        oldest = [record.timestamp_ms async for records in self.records(cut) for record in records]
        held_since = datetime.fromtimestamp(max(oldest, default=0) / 1000, UTC)
        if start < held_since:
            raise Invalid(
                f"{start.isoformat()} is before {held_since.isoformat()}; {self._topic} is complete only from then on",
                field="from",
            )

    async def records(self, spans: OffsetRanges) -> AsyncIterator[list[Record]]:
        """Yield the records of the ranges, in order within a partition. Raises Retryable when none arrive any more."""
        left = {number: span for number, span in spans.items() if span.records}
        await self._run(lambda: self._consumer.assign(self._positions({n: span.start for n, span in left.items()})))
        silent = 0
        while left:
            received = await self._run(self._consume)
            silent = 0 if received else silent + 1
            if silent > _SILENT_POLLS:
                raise Retryable(f"Kafka: {self._topic}: no more records arrive of partitions {sorted(left)}")
            records = [
                record for record in received if record.partition in left and record.offset < left[record.partition].end
            ]
            if records:
                yield records
            left = await self._unread(left)
        await self._run(self._consumer.unassign)  # otherwise the next request waits for prefetching

    async def _unread(self, left: OffsetRanges) -> dict[int, OffsetRange]:
        positions = await self._run(lambda: self._consumer.position(self._positions(dict.fromkeys(left, 0))))
        return {item.partition: left[item.partition] for item in positions if item.offset < left[item.partition].end}

    def _consume(self) -> list[Record]:
        first = self._consumer.poll(1.0)
        messages = [first, *self._consumer.consume(MAX_RECORDS - 1, 0)] if first is not None else []
        for message in messages:
            if (error := message.error()) is not None:
                raise KafkaException(error)
        return [record_of(message) for message in messages]

    def _whole(self) -> dict[int, OffsetRange]:
        numbers = self._consumer.list_topics(self._topic, TIMEOUT_S).topics[self._topic].partitions
        marks = {n: self._consumer.get_watermark_offsets(TopicPartition(self._topic, n), TIMEOUT_S) for n in numbers}
        return {number: OffsetRange(*mark) for number, mark in marks.items()}

    async def _at(self, moment: datetime, whole: OffsetRanges) -> dict[int, int]:
        """Return the first offset of each partition that is not older."""
        # Kafka reads negative times as -1 the end, -2 the beginning.
        times = self._positions(dict.fromkeys(whole, max(0, floor(moment.timestamp() * 1000))))
        offsets = await self._run(lambda: self._consumer.offsets_for_times(times, TIMEOUT_S))
        return {item.partition: item.offset if item.offset >= 0 else whole[item.partition].end for item in offsets}

    def _positions(self, offsets: Mapping[int, int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, number, offset) for number, offset in sorted(offsets.items())]

    async def _run(self, request: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(request)
        except KafkaException as error:
            raise as_pipeline_error(error.args[0], self._topic) from error


@asynccontextmanager
async def open_topic_reader(configuration: Mapping[str, str], prefix: str, topic: str) -> AsyncIterator[TopicReader]:
    """Open a reader for the length of a block."""
    required = {
        "group.id": f"{prefix}.ranges",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "fetch.wait.max.ms": "50",
    }
    consumer = Consumer(consumer_configuration(configuration, required))
    try:
        yield TopicReader(consumer, topic)
    finally:
        await asyncio.to_thread(consumer.close)
