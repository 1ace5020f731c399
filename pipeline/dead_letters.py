"""Messages that can never be processed, put aside with the reason; the partition goes on."""

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
"""A header: how many bytes the value had of which only the beginning is kept."""
KEPT_BYTES, KEPT_KEY_BYTES = 900_000, 2_000
_log = logger(__name__)


class DeadLetterPublisher(Protocol):
    """Writing to Kafka; returns once acknowledged."""

    async def forward(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> Position:
        """Write a message as it was read."""


@dataclass(frozen=True)
class DeadLetter:
    """A record and why it is dead. The value and the key are kept as they were read."""

    record: Record
    service: str
    reason: str
    """A word of the table in docs/states.md."""
    error: str
    attempts: int = 0
    batch: Batch | None = None
    """What it was about, when that is known; for the log."""

    @property
    def headers(self) -> Headers:
        """Why, from where, since when."""
        told = {
            "reason": self.reason,
            "error": self.error[:2000],
            "source-topic": self.record.topic,
            "source-partition": self.record.partition,
            "source-offset": self.record.offset,
            "first-seen": self.record.timestamp_ms,
            "attempt": self.attempts,
            "service": self.service,
        }
        return [(name, str(value).encode("utf-8", "backslashreplace")) for name, value in told.items()]


@dataclass(frozen=True)
class StoredDeadLetter:
    """A dead letter as it lies in its topic; `source` is where the message was read, if the headers tell it."""

    record: Record
    service: str
    reason: str
    error: str
    attempts: int
    source: tuple[str, int, int] | None
    first_seen: datetime
    cut: bool = False
    """The value is only the beginning of what was read."""


def read_dead_letter(record: Record) -> StoredDeadLetter:
    """What the headers of a dead letter say; what they lack is left empty."""
    told = {name: value.decode("utf-8", "replace") for name, value in record.headers}
    places = (told.get("source-partition", ""), told.get("source-offset", ""))
    known = "source-topic" in told and all(place.isdigit() for place in places)
    first_seen = told.get("first-seen", "")
    milliseconds = int(first_seen) if first_seen.isdigit() else record.timestamp_ms
    return StoredDeadLetter(
        record,
        service=told.get("service", ""),
        reason=told.get("reason", ""),
        error=told.get("error", ""),
        attempts=int(told["attempt"]) if told.get("attempt", "").isdigit() else 0,
        source=(told["source-topic"], int(places[0]), int(places[1])) if known else None,
        first_seen=datetime.fromtimestamp(milliseconds / 1000, UTC),
        cut=CUT_FROM in told,
    )


async def publish_dead_letter(publisher: DeadLetterPublisher, prefix: str, letter: DeadLetter) -> None:
    """Write the dead letter and wait until the broker has it. Raises as `Publisher` does."""
    topic, key, value = DEAD_LETTERS.full_name(prefix), letter.record.key, letter.record.value
    try:
        await publisher.forward(topic, key, value, letter.headers)
    except Invalid:  # larger than the topic takes; the message itself stays where it was read
        cut = (CUT_FROM, str(len(value or b"")).encode())
        await publisher.forward(
            topic, (key or b"")[:KEPT_KEY_BYTES], (value or b"")[:KEPT_BYTES], [*letter.headers, cut]
        )
    counter("gsc_dead_letters_total").labels(letter.reason).inc()
    about = {**record_fields(letter.record), **(batch_fields(letter.batch) if letter.batch else {})}
    _log.error("dead_letter", reason=letter.reason, error=letter.error, **about)
