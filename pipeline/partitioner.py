"""The partition of a key, as every publisher chooses it: murmur2, as the clients of Java do. Pure."""

_SEED = 0x9747B28C
_FACTOR = 0x5BD1E995
_BITS = 0xFFFFFFFF


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key in a topic with this number of partitions."""
    return (_murmur2(key) & 0x7FFFFFFF) % partitions


def _murmur2(data: bytes) -> int:
    """Return the 32-bit hash, by Austin Appleby: four bytes at a time, the rest, and a last mixing of the bits."""
    value = _SEED ^ len(data)
    whole = len(data) & ~3
    for start in range(0, whole, 4):
        value = _product(value) ^ _mixed(int.from_bytes(data[start : start + 4], "little"))
    if rest := data[whole:]:
        value = _product(value ^ int.from_bytes(rest, "little"))
    value = _product(value ^ value >> 13)
    return value ^ value >> 15


def _mixed(word: int) -> int:
    word = _product(word)
    return _product(word ^ word >> 24)


def _product(value: int) -> int:
    return value * _FACTOR & _BITS
