"""Faust's consumer on a real Kafka."""

import asyncio

from pipeline.contracts.records import Record
from pipeline.contracts.topics import SYNC_REQUESTS
from pipeline.kafka_admin import create_topics
from pipeline.settings import KafkaSettings
from producer.faust_app import build_app, last_fetch
from support.wait import until


async def test_its_consumer_keeps_asking_for_records_without_any(kafka: dict[str, str], topic_prefix: str) -> None:
    await create_topics(kafka, topic_prefix)

    async def ignore(_: Record) -> None:
        await asyncio.sleep(0)

    settings = KafkaSettings(kafka=kafka, topic_prefix=topic_prefix)
    app = build_app(settings, SYNC_REQUESTS.full_name(topic_prefix), ignore)
    assert last_fetch(app) == float("-inf")
    await app.start()
    try:
        await until(lambda: last_fetch(app) > 0, 60, "the first request")
        first = last_fetch(app)
        await until(lambda: last_fetch(app) > first + 1, 60, "more requests")
    finally:
        await app.stop()
