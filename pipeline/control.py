"""Halts, as a process sees them: `gsc.control` is read from its beginning and then followed.

A process that cannot read the topic must not start calls (it fails closed): see `readable`.
"""

import asyncio
from collections.abc import Callable, Mapping

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.aio import AIOConsumer

from pipeline.clock import monotonic, now
from pipeline.contracts import codec
from pipeline.contracts.halts import Halts, is_scope, parse_scope
from pipeline.contracts.messages import Control
from pipeline.contracts.topics import CONTROL
from pipeline.errors import Fatal, Invalid, Retryable
from pipeline.kafka import TIMEOUT_S, close_consumer, consumer_configuration, is_refused_for_long
from pipeline.log import logger
from pipeline.metrics import gauge
from pipeline.refusals import Refusals
from pipeline.retry import with_retries
from pipeline.watchdog import Heartbeat

POLL_S = 0.05
CONFIRM_EVERY_S = 1.0
FOLLOW_LIMIT_S = 30.0
STALE_AFTER_S = 5.0
"""Every process must see a halt within 5 s; halts read longer ago are not certain."""

_log = logger(__name__)


class ControlWatcher:
    """Follows the control topic, and calls its subscribers on the loop when a halt begins, ends or changes."""

    def __init__(self, configuration: Mapping[str, str], prefix: str) -> None:
        """Needs a running event loop."""
        required = {"group.id": f"{prefix}.control", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
        settings = {**consumer_configuration(configuration, required), "error_cb": self._on_error}
        self._consumer = AIOConsumer(settings, max_workers=2)
        self._topic = CONTROL.full_name(prefix)
        self._listeners: list[Callable[[], None]] = []
        self._confirmed_at = float("-inf")
        self._position = 0
        self._refusals = Refusals()
        self._failure: KafkaError | None = None
        self._follower: asyncio.Task[None] | None = None
        self.halts = Halts()
        self.heartbeat = Heartbeat("reader of the control topic", FOLLOW_LIMIT_S, monotonic())

    def subscribe(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` after each change."""
        self._listeners.append(on_change)

    def readable(self, monotonic_now: float) -> bool:
        """Return whether the topic was read to its end within the last STALE_AFTER_S seconds."""
        return monotonic_now - self._confirmed_at < STALE_AFTER_S

    def unreadable(self, monotonic_now: float) -> str | None:
        """Return why the halts are not certain, or None."""
        return None if self.readable(monotonic_now) else f"{self._topic} cannot be read to its end"

    async def start(self) -> None:
        """Read to the end, then follow the topic. Raises Retryable when it cannot be read."""
        try:
            await self._consumer.assign([TopicPartition(self._topic, 0, 0)])
            await with_retries(self._read_to_end)
        except Retryable:
            await close_consumer(self._consumer)
            raise
        self._confirm()
        self._follower = asyncio.create_task(self._follow())

    async def _read_to_end(self) -> None:
        try:
            end = await self._end()
            async with asyncio.timeout(TIMEOUT_S):
                while self._position < end:
                    await self._read()
        except KafkaException as error:
            raise Retryable(f"Kafka: {self._topic}: {error.args[0].str()}") from error
        except TimeoutError as error:
            raise Retryable(f"Kafka: {self._topic} cannot be read to its end") from error

    async def close(self) -> None:
        """Stop following. Only after a successful `start`."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
            await close_consumer(self._consumer)

    async def _follow(self) -> None:
        confirmed = monotonic()
        while True:
            self.heartbeat.beat(monotonic())
            if self._failure is not None:
                raise Fatal(f"Kafka client: {self._failure.str()}")
            try:
                await self._read()
                if monotonic() - confirmed >= CONFIRM_EVERY_S:
                    confirmed = monotonic()
                    if self._position >= await self._end():
                        self._confirm()
            except KafkaException as error:
                _log.warning("control_unreadable", error=error.args[0].str())
                await asyncio.sleep(CONFIRM_EVERY_S)

    async def followed(self, stop: asyncio.Event) -> None:
        """Return at `stop`. Raises what has ended the reading: Fatal when the brokers refuse the credentials."""
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({stopped, *filter(None, [self._follower])}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        if self._follower is not None and self._follower.done():
            self._follower.result()

    async def _on_error(self, error: KafkaError) -> None:
        if is_refused_for_long(error, self._refusals, monotonic()):
            self._failure = error

    async def _end(self) -> int:
        partition = TopicPartition(self._topic, 0)
        _, end = await self._consumer.get_watermark_offsets(partition, timeout=STALE_AFTER_S / 2)
        return int(end)

    def _confirm(self) -> None:
        self._confirmed_at = monotonic()
        self._refusals.accepted()
        gauge("gsc_control_confirmed_timestamp_seconds").set(now().timestamp())
        active = self.halts.active(now())
        gauge("gsc_halts_active").set(len(active))
        ages = [(now() - control.at).total_seconds() for control in active if control.until is None]
        gauge("gsc_oldest_halt_seconds").set(max(ages, default=0.0))

    async def _read(self) -> None:
        first = await self._consumer.poll(POLL_S)
        if first is None:
            return
        changed = False
        for message in [first, *await self._consumer.consume(100, 0)]:
            if not message.error():
                changed |= self._apply(message)
        if changed:
            for listener in self._listeners:
                listener()

    def _apply(self, message: Message) -> bool:
        self._position = (message.offset() or 0) + 1
        key = message.key()
        scope = (key.decode("utf-8", "replace") if isinstance(key, bytes) else key) or "all"
        value = message.value()
        if value is None:
            return self.halts.forget(scope)
        try:
            control = codec.decode(Control, value)
            parse_scope(control.scope)
        except Invalid as error:
            control = _halt_unreadable(scope, str(error))
            known = is_scope(scope)
            _log.error(
                "control_record_unreadable", scope=scope, error=str(error), read_as="halted" if known else "nothing"
            )
            if not known:
                return False
        return self.halts.apply(control)


def _halt_unreadable(scope: str, error: str) -> Control:
    return Control(
        scope=scope,
        state="halted",
        reason=f"unreadable control record: {error}",
        actor="reader",
        at=now(),
        cause="unreadable",
    )


async def read_halts(configuration: Mapping[str, str], prefix: str) -> Halts:
    """Return the current halts. Raises Retryable when the topic cannot be read."""
    watcher = ControlWatcher(configuration, prefix)
    await watcher.start()
    await watcher.close()
    return watcher.halts
