"""The offsets that may be committed while several records of a partition are in flight. Pure.

A commit covers only offsets below which every record is done. The offsets that are done above it go into the commit's
metadata as a bitmap, so that the next owner of the partition skips them, as Confluent's parallel-consumer does.
"""

import base64
import zlib
from typing import NamedTuple

METADATA_LIMIT = 2400
"""Characters of the bitmap. A broker accepts 4,096 bytes of metadata by default (`offset.metadata.max.bytes`), and the
partition status follows the bitmap."""
_PREFIX = "1:"
"""The version of the format."""
_MAX_BITS = 10_000_000
"""The largest bitmap that is unpacked, since damaged metadata may expand without bound."""


class AssignedPartition(NamedTuple):
    """A partition assigned to this member. Reading starts at `offset`; `metadata` is that of the last commit."""

    partition: int
    offset: int
    metadata: str


class OffsetCommit(NamedTuple):
    """The next offset to read of a partition, and the metadata for its next owner."""

    partition: int
    offset: int
    metadata: str = ""


class OffsetTracker:
    """The offsets of one partition that are in flight or done since the partition was assigned."""

    def __init__(self, first: int, metadata: str = "") -> None:
        self._committable = first
        self._in_flight: set[int] = set()
        self._done = _unpack(metadata)
        """A bitmap as a number: bit 0 is the committable offset. Changing and packing it takes less than a millisecond,
        also when one record has been in flight while a hundred thousand others were done."""
        self._end = first

    def is_done(self, offset: int) -> bool:
        """Return whether this owner or an earlier one has finished the record."""
        return offset < self._committable or bool(self._done >> offset - self._committable & 1)

    def started(self, offset: int) -> None:
        """Record that work on a record begins. Offsets may have gaps, left by compaction and by transactions."""
        self._in_flight.add(offset)
        self._end = max(self._end, offset + 1)

    def done(self, offset: int) -> None:
        """Record that a record is finished and need not be read again.

        Work that outlived an earlier assignment of the partition may end now. Its offset does not count unless it was
        read again: records before it may not have been read.
        """
        if offset not in self._in_flight:
            return
        self._in_flight.remove(offset)
        self._done |= 1 << offset - self._committable
        self._advance()

    def _advance(self) -> None:
        # What an earlier owner has finished is not started here.
        self._end += _ones(self._done >> self._end - self._committable)
        floor = min(self._in_flight, default=self._end)
        # Every offset below the floor is done or does not exist. Offsets above `_end` that an earlier owner finished
        # stay in `_done` until the records before them have been read.
        if floor > self._committable:
            self._done >>= floor - self._committable
            self._committable = floor

    @property
    def committable(self) -> int:
        """The lowest offset below which every record that was read is done."""
        return self._committable

    @property
    def in_flight(self) -> int:
        """The number of records that are started and not done."""
        return len(self._in_flight)

    @property
    def metadata(self) -> str:
        """The offsets done above `committable`, as text. Offsets that do not fit are left out, and will be repeated."""
        bits = self._done
        while bits:
            packed = _pack(bits)
            if len(packed) <= METADATA_LIMIT:
                return packed
            bits &= (1 << bits.bit_length() // 2) - 1
        return ""


def _ones(bits: int) -> int:
    """Return how many of the lowest bits are set, up to the first that is not."""
    return (~bits & bits + 1).bit_length() - 1


def _pack(bits: int) -> str:
    bitmap = bits.to_bytes(bits.bit_length() // 8 + 1, "little")
    return _PREFIX + base64.b85encode(zlib.compress(bitmap)).decode()


def _unpack(metadata: str) -> int:
    """Return the bitmap. Other text has an empty one: it is safe to repeat a call, and wrong to skip one."""
    if not metadata.startswith(_PREFIX):
        return 0
    try:
        packed = base64.b85decode(metadata.removeprefix(_PREFIX))
        bitmap = zlib.decompressobj().decompress(packed, _MAX_BITS // 8)
    except (ValueError, zlib.error):
        return 0
    return int.from_bytes(bitmap, "little")
