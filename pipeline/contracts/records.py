"""Kafka records, offsets and lags, as values."""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

from pipeline.contracts.messages import ALL_ROWS, Day, Priority, Selection


class Record(NamedTuple):
    """A message that was read from a topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: tuple[tuple[str, bytes], ...] = ()


class Position(NamedTuple):
    """The place of a published message in its topic."""

    partition: int
    offset: int


class PartitionLag(NamedTuple):
    """The offsets of a partition for a consumer group. `lag` counts messages; `metadata` is that of the last commit."""

    committed: int
    end: int
    lag: int
    metadata: str = ""


class OverduePage(NamedTuple):
    """A page that was published long ago and has no result. `position` is that of its batch, or None if unknown."""

    batch_id: str
    credential: str
    property: str
    position: Position | None


class SeriesKey(NamedTuple):
    """What a row of `gsc.series` stands for. `dimensions` are as sent to the API."""

    property: str
    report: str
    search_type: str
    dimensions: tuple[str, ...]
    selection: Selection = ALL_ROWS


class PlanCursor(Struct, frozen=True):
    """The last page that is planned of a run. `round` counts the pages of its property, `pages` those of the run."""

    property: str
    date: Day
    round: int
    pages: int


class PendingGroup(NamedTuple):
    """The pending pages of one credential in one run."""

    credential: str
    priority: Priority
    generation: int
    run_id: str


class UnfinishedPages(NamedTuple):
    """How many pages of a credential in one run are pending or published."""

    credential: str
    priority: Priority
    pending: int
    published: int
    age_s: float
    """Seconds since the request of the run was accepted."""
    partitions: Sequence[int]
    """Where batches of the published pages lie."""
    run_id: str
    halted: int
    """How many of the pages are of halted properties."""
