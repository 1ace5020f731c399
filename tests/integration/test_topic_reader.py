"""A part of a topic, read beside its groups; and dead letters as they are read back."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.clock import now
from pipeline.contracts.records import Record
from pipeline.contracts.topics import DEAD_LETTERS, RESULTS
from pipeline.dead_letters import DeadLetter, publish_dead_letter, read_dead_letter
from pipeline.errors import Invalid
from pipeline.kafka_admin import create_topics
from pipeline.publisher import Publisher
from pipeline.topic_reader import OffsetRange, TopicReader, open_topic_reader


@pytest.fixture
async def reader(kafka: dict[str, str], topic_prefix: str) -> AsyncIterator[TopicReader]:
    await create_topics(kafka, topic_prefix)
    async with open_topic_reader(kafka, topic_prefix, RESULTS.full_name(topic_prefix)) as opened:
        yield opened


async def values(reader: TopicReader, spans: dict[int, OffsetRange]) -> list[bytes]:
    return sorted([record.value or b"" async for records in reader.records(spans) for record in records])


async def test_records_of_a_period_are_selected(reader: TopicReader, publisher: Publisher, topic_prefix: str) -> None:
    topic = RESULTS.full_name(topic_prefix)
    assert await values(reader, await reader.available()) == []
    for number in range(30):
        await publisher.publish(topic, f"key-{number}", b"early-%02d" % number)
    await asyncio.to_thread(_next_millisecond)
    middle = now()
    for number in range(10):
        await publisher.publish(topic, f"key-{number}", b"late-%02d" % number)
    whole = await reader.available()
    assert sum(span.records for span in whole.values()) == 40
    assert len(await values(reader, whole)) == 40
    assert await values(reader, await reader.between(middle, None)) == [b"late-%02d" % n for n in range(10)]
    assert await values(reader, await reader.between(None, middle)) == [b"early-%02d" % n for n in range(30)]
    assert await values(reader, await reader.between(middle, middle)) == []
    assert await reader.between(datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC), None) == whole
    assert await values(reader, await reader.between(now() + timedelta(days=1), None)) == []


def _next_millisecond() -> None:
    """Messages are stamped in milliseconds."""
    start = now().timestamp()
    while now().timestamp() < start + 0.005:
        pass


async def test_a_period_that_kafka_no_longer_holds_is_an_error(
    kafka: dict[str, str], reader: TopicReader, publisher: Publisher, topic_prefix: str
) -> None:
    topic = RESULTS.full_name(topic_prefix)
    places = [await publisher.publish(topic, "one key", b"%d" % number) for number in range(6)]
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    assert len(await values(reader, await reader.between(long_ago, None))) == 6  # nothing was thrown away
    admin = AdminClient(kafka)
    cut = TopicPartition(topic, places[0].partition, 3)
    await asyncio.to_thread(admin.delete_records([cut])[cut].result, 10)
    with pytest.raises(Invalid, match=rf"from: 2020-01-01T00:00:00\+00:00 is before .*; {topic} is complete only from"):
        await reader.between(long_ago, None)
    assert len(await values(reader, await reader.between(None, None))) == 3


async def test_a_dead_letter_is_read_back_with_reason_source_and_time(
    kafka: dict[str, str], reader: TopicReader, publisher: Publisher, topic_prefix: str
) -> None:
    seen = datetime(2026, 3, 1, 12, tzinfo=UTC)
    record = Record("gsc.results", 3, 77, b"key", b"\x00\xff", round(seen.timestamp() * 1000))
    await publish_dead_letter(publisher, topic_prefix, DeadLetter(record, "sink", "undecodable", "not \udc80 JSON", 4))
    async with open_topic_reader(kafka, topic_prefix, DEAD_LETTERS.full_name(topic_prefix)) as dead_letters:
        spans = await dead_letters.available()
        [found] = [read_dead_letter(item) async for records in dead_letters.records(spans) for item in records]
    assert (found.service, found.reason, found.error, found.attempts) == ("sink", "undecodable", "not \\udc80 JSON", 4)
    assert (found.source, found.first_seen) == (("gsc.results", 3, 77), seen)
    assert (found.record.key, found.record.value) == (b"key", b"\x00\xff")


def test_a_foreign_dead_letter_is_read_as_far_as_possible() -> None:
    found = read_dead_letter(Record("gsc.dead-letters", 0, 0, None, b"x", 1000, (("source-offset", b"no"),)))
    assert (found.source, found.reason, found.attempts) == (None, "", 0)
    assert found.first_seen == datetime.fromtimestamp(1, UTC)
