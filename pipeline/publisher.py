"""Publishing to Kafka. Each message is awaited until the broker has acknowledged it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException

from pipeline.contracts import codec
from pipeline.contracts.messages import Control, SyncRequest
from pipeline.contracts.records import Position
from pipeline.contracts.topics import CONTROL, SYNC_REQUESTS
from pipeline.kafka import TIMEOUT_S, Headers, as_pipeline_error, publisher_configuration
from pipeline.metrics import counter


class Publisher:
    """Publishes messages and waits for their acknowledgement.

    confluent_kafka.aio's producer accepts no headers, so this uses the plain producer: one thread serves the delivery
    reports and passes them to the loop.
    """

    def __init__(self, configuration: Mapping[str, str], client_id: str) -> None:
        try:
            self._producer = confluent_kafka.Producer(publisher_configuration(configuration, client_id))
        except KafkaException as error:
            raise as_pipeline_error(error.args[0], "publisher") from error
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="kafka-delivery-reports", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(0.2)

    async def publish(self, topic: str, key: str, value: bytes | None, headers: Headers = ()) -> Position:
        """Publish one message and wait for its acknowledgement. Raises Retryable, Invalid (too large) or Fatal."""
        return await self._enqueue(topic, key.encode(), value, headers)

    async def publish_all(self, topic: str, messages: Sequence[tuple[str, bytes]]) -> list[Position]:
        """Publish messages in order and wait for all of them. The first error is raised after all have ended."""
        futures = [self._enqueue(topic, key.encode(), value, ()) for key, value in messages]
        results = await asyncio.gather(*futures, return_exceptions=True)
        if errors := [result for result in results if isinstance(result, BaseException)]:
            raise errors[0]
        return [result for result in results if isinstance(result, Position)]

    async def forward(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> Position:
        """Publish a message with key and value as read."""
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
            except BufferError:  # librdkafka's queue is full and drains as the broker acknowledges
                await asyncio.sleep(0.02)
            except KafkaException as error:
                raise as_pipeline_error(error.args[0], topic) from error
        position = await acknowledged
        counter("gsc_messages_published_total").labels(topic).inc()
        return position

    async def close(self) -> None:
        """Send queued messages, within a time limit, and stop."""
        await asyncio.to_thread(self._producer.flush, TIMEOUT_S)
        self._closing.set()
        await asyncio.to_thread(self._thread.join)


@asynccontextmanager
async def open_publisher(configuration: Mapping[str, str], client_id: str) -> AsyncIterator[Publisher]:
    """Open a publisher for the length of a block."""
    publisher = Publisher(configuration, client_id)
    try:
        yield publisher
    finally:
        await publisher.close()


class KeyedPublisher(Protocol):
    """Publishes a message under a key, as `Publisher` does."""

    async def publish(self, topic: str, key: str, value: bytes | None, headers: Headers = ()) -> Position:
        """Publish one message; returns after its acknowledgement. Raises Retryable."""


async def publish_request(publisher: KeyedPublisher, prefix: str, request: SyncRequest) -> Position:
    """Publish a sync request; returns its position. Raises Retryable."""
    return await publisher.publish(SYNC_REQUESTS.full_name(prefix), request.request_id, codec.encode(request))


async def publish_control(publisher: KeyedPublisher, prefix: str, control: Control) -> None:
    """Publish the desired state of a scope. Raises Retryable."""
    await publisher.publish(CONTROL.full_name(prefix), control.scope, codec.encode(control))


def _settle(
    acknowledged: "asyncio.Future[Position]", error: KafkaError | None, message: confluent_kafka.Message
) -> None:
    if acknowledged.done():  # the waiting task was cancelled
        return
    if error is not None:
        acknowledged.set_exception(as_pipeline_error(error, message.topic() or ""))
    else:
        acknowledged.set_result(Position(message.partition() or 0, message.offset() or 0))
