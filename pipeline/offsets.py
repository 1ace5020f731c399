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
_MAX_BITS = 1_000_000
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
        self._done = {first + bit for bit in _unpack(metadata)}
        self._end = first

    def is_done(self, offset: int) -> bool:
        """Return whether this owner or an earlier one has finished the record."""
        return offset < self._committable or offset in self._done

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
        self._done.add(offset)
        self._advance()

    def _advance(self) -> None:
        while self._end in self._done:  # finished by an earlier owner, and therefore not started here
            self._end += 1
        floor = min(self._in_flight, default=self._end)
        # Every offset below the floor is done or does not exist. Offsets above `_end` that an earlier owner finished
        # stay in `_done` until the records before them have been read.
        if floor > self._committable:
            self._committable = floor
            self._done = {offset for offset in self._done if offset >= floor}

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
        bits = sorted(offset - self._committable for offset in self._done)
        while bits:
            packed = _pack(bits)
            if len(packed) <= METADATA_LIMIT:
                return packed
            bits = bits[: len(bits) // 2]
        return ""


def _pack(bits: list[int]) -> str:
    bitmap = bytearray(bits[-1] // 8 + 1)
    for bit in bits:
        bitmap[bit // 8] |= 1 << bit % 8
    return _PREFIX + base64.b85encode(zlib.compress(bytes(bitmap), 9)).decode()


def _unpack(metadata: str) -> list[int]:
    """Return the bits that are set. Other text has none: it is safe to repeat a call, and wrong to skip one."""
    if not metadata.startswith(_PREFIX):
        return []
    try:
        packed = base64.b85decode(metadata.removeprefix(_PREFIX))
        bitmap = zlib.decompressobj().decompress(packed, _MAX_BITS // 8)
    except (ValueError, zlib.error):
        return []
    return [index * 8 + bit for index, byte in enumerate(bitmap) for bit in range(8) if byte >> bit & 1]
