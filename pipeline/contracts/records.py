"""Places in Kafka, as values."""

from typing import NamedTuple


class Record(NamedTuple):
    """A message as it was read."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: tuple[tuple[str, bytes], ...] = ()


class Position(NamedTuple):
    """Where a published message lies."""

    partition: int
    offset: int


class PartitionLag(NamedTuple):
    """Offsets of one partition as seen for a group; `lag` in messages, `metadata` that of the last commit."""

    committed: int
    end: int
    lag: int
    metadata: str = ""


class OverduePage(NamedTuple):
    """A page that was published long ago and has no result; `position` is where its batch lies, None if unknown."""

    batch_id: str
    position: Position | None
