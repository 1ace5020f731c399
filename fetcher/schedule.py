"""Which batch is started next. Pure.

The batches of each held partition wait in one queue for each property. Daily batches go before backfills, properties
take turns, and a property that has to wait delays no other. A repeated batch is dropped.

Memory: the id of a batch is kept for DEDUPLICATION_S after the batch was read. A repeat is published while its page is
fetched for the second time, so it is read soon after. The producer's limit on queued batches bounds the number of ids.
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
    """A batch that was read from a partition, and the state of its attempts."""

    batch: Batch
    partition: int
    offset: int
    attempts: int = 0
    not_before: float = 0.0
    """The job may not start earlier, on the monotonic clock."""
    call_started: float = 0.0


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

    def queue_of(self, job: Job) -> deque[Job]:
        return self.queues[job.batch.priority].setdefault(job.batch.property, deque())


class Schedule:
    """The queues of the held partitions."""

    def __init__(self) -> None:
        self._partitions: OrderedDict[int, _Partition] = OrderedDict()
        self._queued = 0

    def __len__(self) -> int:
        return self._queued

    def assigned(self, partitions: Iterable[int]) -> None:
        """Add partitions, with empty queues."""
        for partition in partitions:
            self._partitions[partition] = _Partition()

    def revoked(self, partitions: Iterable[int]) -> None:
        """Remove partitions and their queues."""
        for number in partitions:
            partition = self._partitions.pop(number, None)
            self._queued -= len(list(partition.jobs())) if partition else 0

    def add(self, job: Job, now: float) -> bool:
        """Queue a job; False when its batch is a repeat, or its partition is not held."""
        partition = self._partitions.get(job.partition)
        if partition is None:
            return False
        while partition.seen and next(iter(partition.seen.values())) < now - DEDUPLICATION_S:
            partition.seen.popitem(last=False)
        if job.batch.batch_id in partition.seen:
            return False
        partition.seen[job.batch.batch_id] = now
        partition.scopes.update(scopes_of(job.batch)[1:])
        partition.queue_of(job).append(job)
        self._queued += 1
        return True

    def put_back(self, job: Job) -> None:
        """Queue a job again, first of its property; it waits until its `not_before`."""
        if partition := self._partitions.get(job.partition):
            partition.queue_of(job).appendleft(job)
            self._queued += 1

    def forget(self, job: Job) -> None:
        """Forget the id of a batch that was deferred or is dead, since it may be published again under this id."""
        if partition := self._partitions.get(job.partition):
            partition.seen.pop(job.batch.batch_id, None)

    def next(self, wait_of: Callable[[Job], float]) -> Job | float:
        """Remove and return the next job that need not wait.

        When every job must wait, return the seconds until the first one may start; inf when none is queued.
        """
        shortest = float("inf")
        for priority in PRIORITIES:
            for partition in self._partitions.values():
                job = _take_ready(partition.queues[priority], wait_of)
                if isinstance(job, Job):
                    self._partitions.move_to_end(job.partition)
                    self._queued -= 1
                    return job
                shortest = min(shortest, job)
        return shortest

    def soonest(self, number: int, wait_of: Callable[[Job], float]) -> tuple[Job | None, float]:
        """Return the queued job of a partition that has the shortest wait, and the wait; (None, inf) without a job."""
        partition = self._partitions.get(number, _Partition())  # a partition that is drained has no queues any more
        heads = [_head(queue) for queues in partition.queues.values() for queue in queues.values() if queue]
        waits = [(wait_of(job), order) for order, job in enumerate(heads)]
        return (heads[min(waits)[1]], min(waits)[0]) if waits else (None, float("inf"))

    def scopes(self, number: int) -> Set[str]:
        """The halt scopes of the batches that were queued since the partition was assigned, without `all`."""
        return self._partitions[number].scopes if number in self._partitions else frozenset()


def _take_ready(queues: OrderedDict[str, deque[Job]], wait_of: Callable[[Job], float]) -> Job | float:
    """Remove and return the job of the first property that need not wait, else the shortest wait."""
    shortest = float("inf")
    for url in list(queues):
        queue = queues[url]
        if not queue:
            del queues[url]
            continue
        job = _head(queue)
        wait = wait_of(job)
        if wait <= 0:
            queues.move_to_end(url)
            queue.remove(job)
            return job
        shortest = min(shortest, wait)
    return shortest


def _head(queue: deque[Job]) -> Job:
    """Return the next job of a property: one that waits for a retry does not delay those behind it."""
    return min(queue, key=_not_before) if queue[0].not_before else queue[0]


def _not_before(job: Job) -> float:
    return job.not_before
