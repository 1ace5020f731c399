"""Commits and their acknowledgements, by offsets."""

import pytest
from confluent_kafka import TopicPartition

from pipeline.errors import Retryable
from pipeline.pending_commits import PendingCommits


def offsets(*values: tuple[int, int]) -> list[TopicPartition]:
    return [TopicPartition("t", partition, offset) for partition, offset in values]


async def test_an_acknowledgement_is_matched_by_offsets_in_any_order() -> None:
    pending = PendingCommits()
    first, second = pending.add(offsets((0, 5), (1, 7)), 1.0), pending.add(offsets((0, 6)), 2.0)
    assert pending.settle(offsets((0, 6)), None) == 2.0
    assert pending.settle(offsets((1, 7), (0, 5)), None) == 1.0
    assert [await first, await second] == [1.0, 2.0]


async def test_of_equal_commits_the_oldest_is_acknowledged_even_if_nobody_waits_for_it() -> None:
    pending = PendingCommits()
    given_up, later = pending.add(offsets((0, 5)), 1.0), pending.add(offsets((0, 5)), 9.0)
    given_up.cancel()
    assert pending.settle(offsets((0, 5)), None) == 1.0
    assert not later.done()
    assert pending.settle(offsets((0, 5)), None) == 9.0
    assert await later == 9.0


async def test_a_failed_commit_is_retryable() -> None:
    pending = PendingCommits()
    commit = pending.add(offsets((0, 5)), 1.0)
    pending.settle(offsets((0, 5)), "Broker: Unknown member")
    with pytest.raises(Retryable, match="Unknown member"):
        await commit


async def test_after_a_loss_late_acknowledgements_prove_nothing() -> None:
    pending = PendingCommits()
    commit = pending.add(offsets((0, 5)), 1.0)
    pending.fail_all("the partitions are lost")
    with pytest.raises(Retryable, match="lost"):
        await commit
    assert pending.settle(offsets((0, 5)), None) is None
