"""Records that were read and are not written yet, bounded in bytes."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from itertools import islice

from pipeline.contracts.records import Record


@dataclass(frozen=True)
class BatchSize:
    """When a batch is full, in bytes, and how long a part of a page waits for the rest, in seconds."""

    max_bytes: int
    linger_s: float


class ResultQueue:
    """The records of the assigned partitions, in the order in which they were read."""

    def __init__(self, max_batch_bytes: int) -> None:
        self._max_batch_bytes = max_batch_bytes
        self._records: deque[Record] = deque()
        self._bytes = 0
        self._paused = False
        self.arrived = asyncio.Event()
        """Set when records are added."""

    def __bool__(self) -> bool:
        return bool(self._records)

    def add(self, records: Iterable[Record]) -> None:
        """Add records at the end."""
        for record in records:
            self._records.append(record)
            self._bytes += _size(record)
        self.arrived.set()

    def wants_more(self) -> bool:
        """Return whether to continue reading: until two batches are queued, and again below one."""
        limit = self._max_batch_bytes * (1 if self._paused else 2)
        self._paused = self._bytes >= limit
        return not self._paused

    def keep(self, partitions: Set[int]) -> None:
        """Drop the records of all other partitions."""
        self._records = deque(record for record in self._records if record.partition in partitions)
        self._bytes = sum(map(_size, self._records))

    def batch(self, skip: int) -> list[Record]:
        """Return the records of one batch, without the first `skip` records of the queue. They stay in the queue."""
        batch: list[Record] = []
        size = 0
        for record in islice(self._records, skip, None):
            size += _size(record)
            if batch and size > self._max_batch_bytes:
                break
            batch.append(record)
        return batch

    def head(self, count: int) -> Sequence[Record]:
        """Return the first records."""
        return list(islice(self._records, count))

    def remove(self, record: Record) -> None:
        """Remove a record if it is the first. If not, its partition was revoked, and it is gone already."""
        if self._records and self._records[0] is record:
            self._bytes -= _size(self._records.popleft())


def _size(record: Record) -> int:
    return len(record.value or b"")
