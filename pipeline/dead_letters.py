"""Messages that can never be processed: published to the dead-letter topic with the reason, and read back."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from pipeline.contracts.messages import Batch
from pipeline.contracts.records import Position, Record
from pipeline.contracts.topics import DEAD_LETTERS
from pipeline.errors import Invalid
from pipeline.kafka import Headers
from pipeline.log import batch_fields, logger, record_fields
from pipeline.metrics import counter

CUT_FROM = "cut-from"
"""A header: the original size, in bytes, of a value that was truncated."""
KEPT_BYTES, KEPT_KEY_BYTES = 900_000, 2_000
_log = logger(__name__)


class DeadLetterPublisher(Protocol):
    """Publishes messages unchanged; returns after the acknowledgement."""

    async def forward(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> Position:
        """Publish a message with the key and value as read."""


@dataclass(frozen=True)
class DeadLetter:
    """A record that cannot be processed, and why. Key and value are as read."""

    record: Record
    service: str
    reason: str
    """A reason of the table in docs/states.md."""
    error: str
    attempts: int = 0
    batch: Batch | None = None
    """The batch that it is about, if known; for the log."""

    @property
    def headers(self) -> Headers:
        """The headers of the message: reason, error, source, attempts."""
        fields = {
            "reason": self.reason,
            "error": self.error[:2000],
            "source-topic": self.record.topic,
            "source-partition": self.record.partition,
            "source-offset": self.record.offset,
            "first-seen": self.record.timestamp_ms,
            "attempt": self.attempts,
            "service": self.service,
        }
        return [(name, str(value).encode("utf-8", "backslashreplace")) for name, value in fields.items()]


@dataclass(frozen=True)
class StoredDeadLetter:
    """A dead letter read back from its topic. `source` is (topic, partition, offset) of the message, if known."""

    record: Record
    service: str
    reason: str
    error: str
    attempts: int
    source: tuple[str, int, int] | None
    first_seen: datetime
    cut: bool = False
    """Whether the value was truncated."""


def read_dead_letter(record: Record) -> StoredDeadLetter:
    """Return a dead letter from its record. Missing headers become empty fields."""
    headers = {name: value.decode("utf-8", "replace") for name, value in record.headers}
    position = (headers.get("source-partition", ""), headers.get("source-offset", ""))
    known = "source-topic" in headers and all(number.isdigit() for number in position)
    first_seen = headers.get("first-seen", "")
    milliseconds = int(first_seen) if first_seen.isdigit() else record.timestamp_ms
    return StoredDeadLetter(
        record,
        service=headers.get("service", ""),
        reason=headers.get("reason", ""),
        error=headers.get("error", ""),
        attempts=int(headers["attempt"]) if headers.get("attempt", "").isdigit() else 0,
        source=(headers["source-topic"], int(position[0]), int(position[1])) if known else None,
        first_seen=datetime.fromtimestamp(milliseconds / 1000, UTC),
        cut=CUT_FROM in headers,
    )


async def publish_dead_letter(publisher: DeadLetterPublisher, prefix: str, letter: DeadLetter) -> None:
    """Publish the dead letter and wait for the acknowledgement. Raises the errors of `Publisher`."""
    topic, key, value = DEAD_LETTERS.full_name(prefix), letter.record.key, letter.record.value
    try:
        await publisher.forward(topic, key, value, letter.headers)
    except Invalid:  # larger than the topic accepts; the message itself stays in its own topic
        cut = (CUT_FROM, str(len(value or b"")).encode())
        await publisher.forward(
            topic, (key or b"")[:KEPT_KEY_BYTES], (value or b"")[:KEPT_BYTES], [*letter.headers, cut]
        )
    counter("gsc_dead_letters_total").labels(letter.reason).inc()
    about = {**record_fields(letter.record), **(batch_fields(letter.batch) if letter.batch else {})}
    _log.error("dead_letter", reason=letter.reason, error=letter.error, **about)
