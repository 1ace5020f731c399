"""Which offsets may be committed while many records of a partition are in flight. Pure.

Only offsets below which everything is done are committed. What is done beyond them travels as a bitmap in the commit's
metadata, so that the next owner does not repeat it. The method is that of Confluent's parallel-consumer.
"""

import base64
import binascii
import zlib

METADATA_LIMIT = 3000
"""Characters. A broker accepts 4,096 by default (`offset.metadata.max.bytes`); the partition status needs the rest."""
_PREFIX = "1:"  # version of the format
_MAX_BITS = 1_000_000  # limits what corrupt metadata can make us unpack


class OffsetTracker:
    """What was read, is in flight, and is done of one partition since it was assigned."""

    def __init__(self, first: int, metadata: str = "") -> None:
        self._committable = first
        self._restored = frozenset(first + bit for bit in _unpack(metadata))
        self._in_flight: set[int] = set()
        self._done: set[int] = set(self._restored)
        self._end = first

    def is_done(self, offset: int) -> bool:
        """Return whether the offset is done, by this owner or the previous one."""
        return offset < self._committable or offset in self._done

    def started(self, offset: int) -> None:
        """Record that the record was read and is being processed. Offsets may have gaps."""
        self._in_flight.add(offset)
        self._end = max(self._end, offset + 1)

    def done(self, offset: int) -> None:
        """Record that the record is done and need not be read again."""
        self._in_flight.discard(offset)
        self._done.add(offset)
        self._end = max(self._end, offset + 1)
        self._advance()

    def _advance(self) -> None:
        while self._end in self._done:  # done by the previous owner, and not read again
            self._end += 1
        floor = min(self._in_flight, default=self._end)
        # Offsets below the floor are done or do not exist. Those that the previous owner did above `_end` were not read
        # yet, and stay.
        if floor > self._committable:
            self._committable = floor
            self._done = {offset for offset in self._done if offset >= floor}

    @property
    def committable(self) -> int:
        """The offset below which every record that was read is done."""
        return self._committable

    @property
    def in_flight(self) -> int:
        """The number of records being processed."""
        return len(self._in_flight)

    @property
    def metadata(self) -> str:
        """The bitmap of what is done beyond `committable`. Offsets that do not fit are left out and repeated."""
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
    """Return the bits that are set; none for unknown metadata: repeating a call is safe, skipping one is not."""
    if not metadata.startswith(_PREFIX):
        return []
    try:
        packed = base64.b85decode(metadata.removeprefix(_PREFIX))
        bitmap = zlib.decompressobj().decompress(packed, _MAX_BITS // 8)
    except (ValueError, binascii.Error, zlib.error):
        return []
    return [index * 8 + bit for index, byte in enumerate(bitmap) for bit in range(8) if byte >> bit & 1]
