"""Which offsets may be committed while many records of a partition are in flight. Pure.

Only what is contiguous and done is committed; what is done beyond it travels in the commit's metadata as a bitmap, so
that a new owner does not repeat it. (The way of Confluent's parallel-consumer.)
"""

import base64
import binascii
import zlib

METADATA_LIMIT = 3000
"""Characters; a broker takes 4,096 by default (`offset.metadata.max.bytes`), and others write behind ours."""
_PREFIX = "1:"  # version of the format
_MAX_BITS = 1_000_000  # what a damaged metadata may make us unpack


class OffsetTracker:
    """What is read, in flight and done of one partition since it was assigned."""

    def __init__(self, first: int, metadata: str = "") -> None:
        self._committable = first
        self._restored = frozenset(first + bit for bit in _unpack(metadata))
        self._in_flight: set[int] = set()
        self._done: set[int] = set(self._restored)
        self._end = first

    def is_done(self, offset: int) -> bool:
        """Whether the offset was done already, here or by the owner before."""
        return offset < self._committable or offset in self._done

    def started(self, offset: int) -> None:
        """The record was read and is being worked on. Offsets may have gaps (compaction, aborted writes)."""
        self._in_flight.add(offset)
        self._end = max(self._end, offset + 1)

    def done(self, offset: int) -> None:
        """The record is done and need not be read again."""
        self._in_flight.discard(offset)
        self._done.add(offset)
        self._end = max(self._end, offset + 1)
        self._advance()

    def _advance(self) -> None:
        while self._end in self._done:  # done by the owner before, and not read again
            self._end += 1
        floor = min(self._in_flight, default=self._end)
        # Offsets below the floor are done or do not exist; those that the owner before did above `_end`
        # were not read yet, and stay.
        if floor > self._committable:
            self._committable = floor
            self._done = {offset for offset in self._done if offset >= floor}

    @property
    def committable(self) -> int:
        """The lowest offset below which everything that was read is done."""
        return self._committable

    @property
    def in_flight(self) -> int:
        """How many records are being worked on."""
        return len(self._in_flight)

    @property
    def metadata(self) -> str:
        """What is done beyond `committable`; what lies too far to fit is left out, and would be repeated."""
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
    """The bits set; none when the text is not ours: repeating a call is safe, skipping one is not."""
    if not metadata.startswith(_PREFIX):
        return []
    try:
        packed = base64.b85decode(metadata.removeprefix(_PREFIX))
        bitmap = zlib.decompressobj().decompress(packed, _MAX_BITS // 8)
    except (ValueError, binascii.Error, zlib.error):
        return []
    return [index * 8 + bit for index, byte in enumerate(bitmap) for bit in range(8) if byte >> bit & 1]
