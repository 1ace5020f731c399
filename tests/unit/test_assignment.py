"""Offsets of the held partitions, and what is to be committed of them."""

from datetime import timedelta

from fetcher.assignment import Assignment
from fetcher.partition_status import PartitionProgress
from fetcher.schedule import Job
from pipeline.contracts.partition_status import PartitionStatus, read_done, read_status, with_status
from pipeline.contracts.records import Record
from pipeline.offsets import AssignedPartition, OffsetCommit, OffsetTracker
from support.examples import NOW, a_batch
from support.fetcher import held_partitions

OK = PartitionStatus("OK", NOW, "3 batches in progress")


def a_record(offset: int, partition: int = 0) -> Record:
    return Record("gsc.batches", partition, offset, b"acme", b"", 0)


def a_job(offset: int, partition: int = 0) -> Job:
    return Job(a_batch(), partition, offset)


def an_assignment(*offsets: int) -> Assignment:
    """Partition 0 from offset 0 on, with these offsets in flight."""
    assignment = Assignment()
    assignment.assign(AssignedPartition(0, 0, ""), 10.0)
    for offset in offsets:
        assert assignment.start(a_record(offset))
    return assignment


def test_records_of_a_held_partition_are_started_until_they_are_done() -> None:
    assignment = an_assignment(0, 1)
    assert 0 in assignment
    assert assignment.partitions == [0]
    assignment.mark_done(a_record(0))
    assert not assignment.start(a_record(0))
    assert not assignment.start(a_record(0, partition=7))
    assert assignment.progress(0, 12.0) == PartitionProgress(in_flight=1, idle_s=2.0)


def test_offsets_that_the_previous_owner_has_done_are_not_started() -> None:
    tracker = OffsetTracker(0)
    for offset in range(3):
        tracker.started(offset)
    tracker.done(1)
    assignment = Assignment()
    assignment.assign(AssignedPartition(0, tracker.committable, with_status(tracker.metadata, OK)), 0.0)
    assert [assignment.start(a_record(offset)) for offset in range(3)] == [True, False, True]


def test_only_contiguous_offsets_are_committed_and_the_rest_is_in_the_metadata() -> None:
    assignment = an_assignment(0, 1, 2)
    assignment.mark_done(a_job(0))
    assignment.mark_done(a_job(2))
    [commit] = assignment.commits({0: OK, 5: OK})  # partition 5 is not held
    assert (commit.partition, commit.offset) == (0, 1)
    assert OffsetTracker(1, read_done(commit.metadata)).is_done(2)
    assert read_status(commit.metadata) == OK


def test_a_commit_has_news_when_more_is_done_or_the_status_changes_but_not_when_time_passes() -> None:
    assignment = an_assignment(0, 1)
    [commit] = assignment.commits({0: OK})
    assert assignment.has_news(commit)
    assignment.mark_committed([commit])
    assert not assignment.has_news(commit)
    [later] = assignment.commits({0: PartitionStatus("OK", NOW + timedelta(seconds=5), OK.reason)})
    assert not assignment.has_news(later)
    [other] = assignment.commits({0: PartitionStatus("STALLED", NOW, "why")})
    assert assignment.has_news(other)
    assignment.mark_done(a_job(1))
    [more] = assignment.commits({0: OK})
    assert assignment.has_news(more)


def test_calls_count_as_uncommitted_until_their_end_is_committed() -> None:
    assignment = an_assignment(0, 1)
    assignment.mark_called(a_job(0))
    assignment.mark_called(a_job(1))
    assignment.mark_done(a_job(1))
    commits = assignment.commits({0: OK})
    assert assignment.uncommitted_calls == 2
    assignment.mark_done(a_job(0))  # between the commit and its acknowledgement
    assignment.mark_committed(commits)
    assert assignment.uncommitted_calls == 1
    assignment.mark_committed(assignment.commits({0: OK}))
    assert assignment.uncommitted_calls == 0


def test_a_released_partition_is_not_committed_any_more() -> None:
    assignment = an_assignment(0)
    assignment.mark_called(a_job(0))
    commits = assignment.commits({0: OK})
    assignment.release([0, 9])
    assignment.mark_done(a_job(0))
    assignment.mark_active(0, 20.0)
    assignment.mark_committed(commits)
    assert 0 not in assignment
    assert assignment.uncommitted_calls == 0
    assert assignment.commits({0: OK}) == []
    assignment.assign(AssignedPartition(0, 0, ""), 30.0)
    assert assignment.has_news(OffsetCommit(0, 0, commits[0].metadata))


def test_the_idle_time_is_that_since_the_last_start_or_end() -> None:
    assignment = an_assignment(0)
    assert assignment.progress(0, 15.0).idle_s == 5.0
    assignment.mark_active(0, 14.0)
    assert assignment.progress(0, 15.0).idle_s == 1.0


def test_a_stopped_partition_has_neither_queue_nor_tokens_but_still_its_offsets() -> None:
    partitions = held_partitions()
    batch = a_batch()
    assert partitions.limiter.wait(batch, 0, 1e9) == 0
    assert partitions.schedule.add(Job(batch, 0, 0), 0.0)
    partitions.stop([0], 1e9)
    assert len(partitions.schedule) == 0
    assert partitions.limiter.wait(batch, 0, 1e9) > 0
    assert 0 in partitions.assignment
    partitions.release([0])
    assert 0 not in partitions.assignment
