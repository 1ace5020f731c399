"""The partitions that this fetcher holds: which of their offsets are done, and what is to be committed."""

from collections.abc import Iterable, Mapping, Sequence

from fetcher.partition_status import PartitionProgress
from fetcher.rate_limiter import RateLimiter
from fetcher.schedule import Job, Schedule
from pipeline.contracts.partition_status import PartitionStatus, read_done, read_status, with_status
from pipeline.contracts.records import Record
from pipeline.offsets import AssignedPartition, OffsetCommit, OffsetTracker


class Assignment:
    """Offsets of the held partitions."""

    def __init__(self) -> None:
        self._trackers: dict[int, OffsetTracker] = {}
        self._active_at: dict[int, float] = {}
        self._committed: dict[int, tuple[object, ...]] = {}
        self._called: set[tuple[int, int]] = set()
        self._called_and_done: set[tuple[int, int]] = set()

    def __contains__(self, partition: int) -> bool:
        return partition in self._trackers

    @property
    def partitions(self) -> list[int]:
        """The numbers of the held partitions."""
        return list(self._trackers)

    def assign(self, assigned: AssignedPartition, now: float) -> None:
        """Hold a partition from now on; its metadata says which offsets the previous owner has done."""
        self._trackers[assigned.partition] = OffsetTracker(assigned.offset, read_done(assigned.metadata))
        self._active_at[assigned.partition] = now

    def release(self, partitions: Iterable[int]) -> None:
        """Forget partitions that this fetcher has given back or lost."""
        for partition in partitions:
            self._trackers.pop(partition, None)
            self._active_at.pop(partition, None)
            self._committed.pop(partition, None)
        self._called = {place for place in self._called if place[0] in self._trackers}

    def start(self, record: Record) -> bool:
        """Mark a record as in flight; False when its partition is not held or its offset is done already."""
        tracker = self._trackers.get(record.partition)
        if tracker is None or tracker.is_done(record.offset):
            return False
        tracker.started(record.offset)
        return True

    def mark_done(self, item: Job | Record) -> None:
        """Record that the offset of a job or record is done and need not be read again."""
        if tracker := self._trackers.get(item.partition):
            tracker.done(item.offset)

    def mark_active(self, partition: int, now: float) -> None:
        """Record that a batch of the partition was started or ended."""
        if partition in self._active_at:
            self._active_at[partition] = now

    def mark_called(self, job: Job) -> None:
        """Record that a call was started for a job."""
        self._called.add((job.partition, job.offset))

    @property
    def uncommitted_calls(self) -> int:
        """The number of called batches whose end is not committed: the calls that a kill would repeat."""
        return len(self._called)

    def progress(self, partition: int, now: float) -> PartitionProgress:
        """Return how many records of a held partition are in flight, and for how long nothing was started or ended."""
        return PartitionProgress(self._trackers[partition].in_flight, now - self._active_at[partition])

    def commits(self, statuses: Mapping[int, PartitionStatus]) -> list[OffsetCommit]:
        """Return the commit of each of these partitions that is held, with its status in the metadata."""
        self._called_and_done = {place for place in self._called if self._trackers[place[0]].is_done(place[1])}
        return [
            OffsetCommit(partition, tracker.committable, with_status(tracker.metadata, status))
            for partition, status in statuses.items()
            if (tracker := self._trackers.get(partition))
        ]

    def has_news(self, commit: OffsetCommit) -> bool:
        """Whether a commit differs from the last successful one of its partition in more than its time."""
        return self._committed.get(commit.partition) != _content(commit)

    def mark_committed(self, commits: Sequence[OffsetCommit]) -> None:
        """Record that commits, returned by the last call of `commits`, have succeeded."""
        self._called -= self._called_and_done
        self._committed.update({item.partition: _content(item) for item in commits if item.partition in self._trackers})


def _content(commit: OffsetCommit) -> tuple[object, ...]:
    """Return the parts of a commit whose change is worth another commit."""
    status = read_status(commit.metadata)
    return commit.offset, read_done(commit.metadata), status and (status.state, status.reason)


class Partitions:
    """What a fetcher knows of the partitions it holds: their offsets, queued batches and token buckets."""

    def __init__(self, limiter: RateLimiter) -> None:
        self.assignment = Assignment()
        self.schedule = Schedule()
        self.limiter = limiter

    def assign(self, assigned: Sequence[AssignedPartition], now: float) -> None:
        """Hold these partitions from now on, with empty queues and empty token buckets."""
        numbers = [item.partition for item in assigned]
        for item in assigned:
            self.assignment.assign(item, now)
        self.schedule.assigned(numbers)
        self.limiter.assigned(numbers, now)

    def stop(self, partitions: Sequence[int], now: float) -> None:
        """Drop queues and token buckets, so that no call starts; the offsets are held until `release`."""
        self.schedule.revoked(partitions)
        self.limiter.revoked(partitions, now)

    def release(self, partitions: Sequence[int]) -> None:
        """Drop the offsets, too."""
        self.assignment.release(partitions)
