import pytest

from pipeline.dead_letter_limit import DeadLetterLimit
from pipeline.errors import Fatal


def test_single_dead_letters_stop_nothing_and_a_majority_stops_the_service() -> None:
    bound = DeadLetterLimit(10, 0.5)
    for _ in range(1000):
        bound.dead(3, "undecodable")
        bound.done(3)
        bound.done(3)
    for _ in range(20):
        bound.done(3)
    for _ in range(9):
        bound.dead(3, "undecodable: x")
    with pytest.raises(Fatal, match="10 of the last 20 messages of partition 3 are dead letters, the last one: bad"):
        bound.dead(3, "bad")


def test_partitions_are_counted_separately_and_can_be_forgotten() -> None:
    bound = DeadLetterLimit(2, 1.0)
    bound.dead(0, "x")
    bound.dead(1, "x")
    bound.forget(0)
    bound.dead(0, "x")
    with pytest.raises(Fatal):
        bound.dead(1, "x")
