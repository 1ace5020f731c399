"""The partitions that we hold: what of them is done, how they stand, and what is to be committed."""

from collections.abc import Iterable, Mapping, Sequence

from fetcher.schedule import Job
from pipeline.consumer_group import AssignedPartition, OffsetCommit
from pipeline.contracts.partition_status import PartitionStatus, read_done, read_status, with_status
from pipeline.contracts.records import Record
from pipeline.offsets import OffsetTracker


class Assignment:
    """Offsets by partition, from a claim until it is given up."""

    def __init__(self) -> None:
        self._trackers: dict[int, OffsetTracker] = {}
        self._moved: dict[int, float] = {}
        self._told: dict[int, tuple[object, ...]] = {}
        self._called: set[tuple[int, int]] = set()
        self._called_and_done: set[tuple[int, int]] = set()

    def __contains__(self, partition: int) -> bool:
        return partition in self._trackers

    @property
    def partitions(self) -> list[int]:
        """Their numbers."""
        return list(self._trackers)

    def claim(self, claim: AssignedPartition, now: float) -> None:
        """Take a partition over, with what the owner before had done."""
        self._trackers[claim.partition] = OffsetTracker(claim.offset, read_done(claim.metadata))
        self._moved[claim.partition] = now

    def give_up(self, partitions: Iterable[int]) -> None:
        """They are another's."""
        for partition in partitions:
            self._trackers.pop(partition, None)
            self._moved.pop(partition, None)
            self._told.pop(partition, None)
        self._called = {place for place in self._called if place[0] in self._trackers}

    def begin(self, record: Record) -> bool:
        """Whether the record is to be worked on; then it is in flight from now on."""
        tracker = self._trackers.get(record.partition)
        if tracker is None or tracker.is_done(record.offset):
            return False
        tracker.started(record.offset)
        return True

    def done(self, place: Job | Record) -> None:
        """What was read there need not be read again."""
        if tracker := self._trackers.get(place.partition):
            tracker.done(place.offset)

    def moved(self, partition: int, now: float) -> None:
        """Something was started or ended."""
        if partition in self._moved:
            self._moved[partition] = now

    def called(self, job: Job) -> None:
        """A call was started for the batch."""
        self._called.add((job.partition, job.offset))

    @property
    def at_stake(self) -> int:
        """Batches for which a call was started and whose end is not committed: what a kill would repeat."""
        return len(self._called)

    def still_since(self, partition: int) -> float:
        """When something was last started or ended; the claim's time at first."""
        return self._moved[partition]

    def in_flight(self, partition: int) -> int:
        """Records that are read and not done."""
        return self._trackers[partition].in_flight

    def commits(self, standings: Mapping[int, PartitionStatus]) -> list[OffsetCommit]:
        """What can be committed of these partitions, with how they stand."""
        self._called_and_done = {place for place in self._called if self._trackers[place[0]].is_done(place[1])}
        return [
            OffsetCommit(partition, tracker.committable, with_status(tracker.metadata, standing))
            for partition, standing in standings.items()
            if (tracker := self._trackers.get(partition))
        ]

    def is_news(self, commit: OffsetCommit) -> bool:
        """Whether it says more than the commit before; the time at which it is said is no news."""
        return self._told.get(commit.partition) != _news(commit)

    def told(self, commits: Sequence[OffsetCommit]) -> None:
        """These, the last that were made, are committed."""
        self._called -= self._called_and_done
        self._told.update({item.partition: _news(item) for item in commits if item.partition in self._trackers})


def _news(commit: OffsetCommit) -> tuple[object, ...]:
    standing = read_status(commit.metadata)
    return commit.offset, read_done(commit.metadata), standing and (standing.state, standing.reason)
