"""Records and positions in Kafka, as values."""

from typing import NamedTuple


class Record(NamedTuple):
    """A message as read from Kafka."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: tuple[tuple[str, bytes], ...] = ()


class Position(NamedTuple):
    """The position of a published message."""

    partition: int
    offset: int


class PartitionLag(NamedTuple):
    """The offsets of a group in one partition. `lag` is in messages; `metadata` is that of the last commit."""

    committed: int
    end: int
    lag: int
    metadata: str = ""


class OverduePage(NamedTuple):
    """A page that was published long ago and has no result; `position` is where its batch lies, None if unknown."""

    batch_id: str
    position: Position | None


class SeriesKey(NamedTuple):
    """What a row of `gsc.series` stands for. `dimensions` are as sent to the API."""

    property: str
    report: str
    search_type: str
    dimensions: tuple[str, ...]
