"""Which batch is next. Pure.

The batches of the held partitions wait in a queue for each property. Urgent ones go first, properties take turns, and a
property that has to wait stops nobody else. Repeats of a batch are dropped.

Memory: a batch is remembered for REMEMBERED_S after it was read. A repeat is published while its page is fetched a
second time, so it is read soon after; the ids held are those that the planner's lag gate lets through in that time.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, field

from pipeline.contracts.halts import scopes_of
from pipeline.contracts.identity import DEDUPLICATION_S
from pipeline.contracts.messages import Batch, Priority

PRIORITIES: tuple[Priority, ...] = ("daily", "backfill")


@dataclass(eq=False)
class Job:
    """A batch that was read, where it lies, and how often it was tried."""

    batch: Batch
    partition: int
    offset: int
    attempts: int = 0
    refreshed: bool = False
    refused_token: str = ""
    not_before: float = 0.0
    began: float = 0.0


@dataclass
class _Partition:
    queues: dict[Priority, OrderedDict[str, deque[Job]]] = field(
        default_factory=lambda: {priority: OrderedDict() for priority in PRIORITIES}
    )
    seen: OrderedDict[str, float] = field(default_factory=OrderedDict)
    scopes: set[str] = field(default_factory=set)

    def jobs(self) -> Iterator[Job]:
        for queues in self.queues.values():
            for queue in queues.values():
                yield from queue


class Schedule:
    """The queues of the partitions that we hold."""

    def __init__(self) -> None:
        self._partitions: OrderedDict[int, _Partition] = OrderedDict()
        self._queued = 0

    def __len__(self) -> int:
        return self._queued

    def assigned(self, partitions: Iterable[int]) -> None:
        """Partitions are ours, and nothing of them was seen."""
        for partition in partitions:
            self._partitions[partition] = _Partition()

    def revoked(self, partitions: Iterable[int]) -> None:
        """Partitions are another's: their queues are gone."""
        for partition in partitions:
            gone = self._partitions.pop(partition, None)
            self._queued -= len(list(gone.jobs())) if gone else 0

    def add(self, job: Job, now: float) -> bool:
        """Queue a batch that was read; False when it is a repeat, or of a partition that is not ours."""
        partition = self._partitions.get(job.partition)
        if partition is None:
            return False
        while partition.seen and next(iter(partition.seen.values())) < now - DEDUPLICATION_S:
            partition.seen.popitem(last=False)
        if job.batch.batch_id in partition.seen:
            return False
        partition.seen[job.batch.batch_id] = now
        partition.scopes.update(scopes_of(job.batch)[1:])
        self._queue(partition, job).append(job)
        self._queued += 1
        return True

    def put_back(self, job: Job) -> None:
        """Queue a job again, first of its property; it waits until its `not_before`."""
        if partition := self._partitions.get(job.partition):
            self._queue(partition, job).appendleft(job)
            self._queued += 1

    def forget(self, job: Job) -> None:
        """The batch was set aside or is dead, and may be published again under its id."""
        if partition := self._partitions.get(job.partition):
            partition.seen.pop(job.batch.batch_id, None)

    def next(self, wait_of: Callable[[Job], float]) -> Job | float:
        """The next job that need not wait, taken out; else the seconds until one may be ready (inf: none queued)."""
        shortest = float("inf")
        for priority in PRIORITIES:
            for partition in self._partitions.values():
                found = self._first_ready(partition.queues[priority], wait_of)
                if isinstance(found, Job):
                    self._partitions.move_to_end(found.partition)
                    self._queued -= 1
                    return found
                shortest = min(shortest, found)
        return shortest

    def soonest(self, number: int, wait_of: Callable[[Job], float]) -> tuple[Job | None, float]:
        """The queued job of a partition that has the shortest wait, left where it is; None when none is queued."""
        partition = self._partitions.get(number, _Partition())  # while it is drained, it is revoked already
        heads = [_head(queue) for queues in partition.queues.values() for queue in queues.values() if queue]
        waits = [(wait_of(job), order) for order, job in enumerate(heads)]
        return (heads[min(waits)[1]], min(waits)[0]) if waits else (None, float("inf"))

    def touched(self, number: int) -> Set[str]:
        """The halt scopes that the batches of a partition were in, since it is ours."""
        return self._partitions[number].scopes if number in self._partitions else frozenset()

    @staticmethod
    def _queue(partition: _Partition, job: Job) -> deque[Job]:
        return partition.queues[job.batch.priority].setdefault(job.batch.property, deque())

    @staticmethod
    def _first_ready(queues: OrderedDict[str, deque[Job]], wait_of: Callable[[Job], float]) -> Job | float:
        shortest = float("inf")
        for property_ in list(queues):
            queue = queues[property_]
            if not queue:
                del queues[property_]
                continue
            job = _head(queue)
            wait = wait_of(job)
            if wait <= 0:
                queues.move_to_end(property_)
                queue.remove(job)
                return job
            shortest = min(shortest, wait)
        return shortest


def _head(queue: deque[Job]) -> Job:
    """The next of a property: a job that waits to be tried again does not hold those behind it."""
    return min(queue, key=_not_before) if queue[0].not_before else queue[0]


def _not_before(job: Job) -> float:
    return job.not_before
