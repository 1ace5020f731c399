"""The number of dead letters that stops a service."""

import pytest

from pipeline.dead_letter_limit import DeadLetterLimit
from pipeline.errors import Fatal


def test_occasional_dead_letters_do_not_stop_a_service_and_many_in_a_row_do() -> None:
    limit = DeadLetterLimit(10, 0.5)
    for _ in range(1000):
        limit.record_dead(3, "undecodable")
        limit.record_done(3)
        limit.record_done(3)
    for _ in range(20):
        limit.record_done(3)
    for _ in range(9):
        limit.record_dead(3, "undecodable: x")
    with pytest.raises(Fatal, match="10 of the last 20 messages of partition 3 are dead letters, the last one: bad"):
        limit.record_dead(3, "bad")


def test_partitions_are_counted_separately_and_forgotten_when_they_are_revoked() -> None:
    limit = DeadLetterLimit(2, 1.0)
    limit.record_dead(0, "x")
    limit.record_dead(1, "x")
    limit.reset(0)
    limit.record_dead(0, "x")
    with pytest.raises(Fatal):
        limit.record_dead(1, "x")


def test_the_error_says_what_to_do() -> None:
    with pytest.raises(Fatal, match=r"see `gsc-stream dead-letters`.*GSC_DEAD_LETTER_LIMIT"):
        DeadLetterLimit(1, 1.0).record_dead(0, "x")


def test_pages_before_the_first_dead_letter_are_not_kept() -> None:
    limit = DeadLetterLimit(2, 0.5)
    for _ in range(10):
        limit.record_done("p")
    limit.record_dead("p", "x")
    with pytest.raises(Fatal, match="2 of the last 2 messages"):
        limit.record_dead("p", "x")
