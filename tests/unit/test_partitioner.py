"""The partition of a key."""

import pytest

from pipeline.partitioner import _murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "value"),
    [  # from Kafka's own tests, UtilsTest.testMurmur2
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_keys_have_the_hash_that_java_gives_them(key: bytes, value: int) -> None:
    assert _murmur2(key) == value % 2**32


def test_a_partition_is_one_of_the_topic() -> None:
    assert {partition_of(f"key-{number}".encode(), 12) for number in range(1000)} == set(range(12))
