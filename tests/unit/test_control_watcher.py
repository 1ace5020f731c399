"""The reader of the control topic, without a broker."""

import asyncio

import pytest
from confluent_kafka import KafkaError

from pipeline import control, kafka
from pipeline.clock import monotonic
from pipeline.control import ControlWatcher
from pipeline.errors import Fatal
from pipeline.kafka import close_consumer
from pipeline.refusals import REFUSED_LIMIT_S

NOWHERE = {"bootstrap.servers": "127.0.0.1:1", "log_level": "0"}


async def test_credentials_that_are_refused_for_a_minute_end_whoever_follows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watcher, refused = ControlWatcher(NOWHERE, "gsc"), KafkaError(KafkaError._AUTHENTICATION, "wrong password")
    watcher._follower = asyncio.create_task(watcher._follow())
    now = monotonic()
    await watcher._on_error(refused)
    monkeypatch.setattr(control, "monotonic", lambda: now + REFUSED_LIMIT_S + 1)
    await watcher._on_error(refused)
    with pytest.raises(Fatal, match="wrong password"):
        await asyncio.wait_for(watcher.followed(asyncio.Event()), 60)
    await watcher.close()


async def test_following_ends_with_the_service() -> None:
    watcher, stop = ControlWatcher(NOWHERE, "gsc"), asyncio.Event()
    watcher._follower = asyncio.create_task(watcher._follow())
    stop.set()
    await asyncio.wait_for(watcher.followed(stop), 60)
    assert not watcher._follower.done()
    await watcher.close()
    assert watcher._follower.cancelled()


async def test_a_consumer_that_cannot_be_closed_delays_nobody_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    class StuckConsumer:
        closing = False

        async def close(self) -> None:
            self.closing = True
            await asyncio.Event().wait()

    consumer = StuckConsumer()
    monkeypatch.setattr(kafka, "CLOSE_S", 0.05)
    await asyncio.wait_for(close_consumer(consumer), 60)  # type: ignore[arg-type]
    assert consumer.closing
