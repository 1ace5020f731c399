"""Which batch is started next. Pure: time is an argument, on a monotonic clock.

Two levels. Credentials take turns, and of a credential its properties take turns, for daily batches before backfills.
What all properties of a credential share is checked once for the credential, and a property that has to wait is not
looked at again before its time, so the cost of a start does not grow with the number of properties.

A property that waits is not polled: `wake` reports that something has changed for it, such as the end of one of its
calls. A repeated batch is dropped.

Memory: the id of a batch is kept for DEDUPLICATION_S after the batch was read. A repeat is published while its page is
fetched for the second time, so it is read soon after. The producer's limit on queued batches bounds the number of ids.
"""

from collections import OrderedDict
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from fetcher.credential_queue import CredentialQueue
from fetcher.rotation import Rotation
from pipeline.contracts.halts import scopes_of
from pipeline.contracts.identity import DEDUPLICATION_S
from pipeline.contracts.messages import Batch


@dataclass(eq=False)
class Job:
    """A batch that was read from a partition, and the state of its attempts."""

    batch: Batch
    partition: int
    offset: int
    attempts: int = 0
    """Failed calls that are not explained by an outage."""
    failing_since: float | None = None
    """The first failed call that is not explained by an outage, on the monotonic clock."""
    fails_alone: bool = False
    """Whether other calls of the credential have succeeded since then: the page itself is at fault."""
    not_before: float = 0.0
    """The job may not start earlier, on the monotonic clock."""
    call_started: float = 0.0
    failure: str = ""
    """Why its last call failed, if it waits for another one."""


def _seen_key(job: Job) -> tuple[str, bool]:
    """Return what makes a batch a repeat: a page that was unchanged may be published again, without its base."""
    return job.batch.batch_id, job.batch.base is not None


class Tenant(NamedTuple):
    """A credential in a partition: in all partitions if the topic was given more of them, otherwise in one only."""

    partition: int
    credential: str


class Waits(Protocol):
    """The seconds until something may start; 0 when it may start now."""

    def of_tenant(self, tenant: Tenant) -> float:
        """Return the wait for what all batches of a credential share."""

    def of_job(self, job: Job) -> float:
        """Return the wait for what the job itself and its property need."""


@dataclass
class _Partition:
    seen: OrderedDict[tuple[str, bool], float] = field(default_factory=OrderedDict)
    scopes: set[str] = field(default_factory=set)
    tenants: set[Tenant] = field(default_factory=set)


class Schedule:
    """The queues of the held partitions."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}
        self._queues: dict[Tenant, CredentialQueue[Job]] = {}
        self._rotation: Rotation[Tenant] = Rotation()
        self._queued = 0

    def __len__(self) -> int:
        return self._queued

    @property
    def credentials(self) -> Iterable[str]:
        """The credentials that have queued batches."""
        return (tenant.credential for tenant in self._queues)

    def assigned(self, partitions: Iterable[int]) -> None:
        """Add partitions, with empty queues."""
        for partition in partitions:
            self._partitions[partition] = _Partition()

    def revoked(self, partitions: Iterable[int]) -> None:
        """Remove partitions and their queues."""
        for number in partitions:
            partition = self._partitions.pop(number, None)
            for tenant in partition.tenants if partition else ():
                self._queued -= len(self._queues[tenant])
                self._remove(tenant)

    def add(self, job: Job, now: float) -> bool:
        """Queue a job; False when its batch is a repeat, or its partition is not held."""
        partition = self._partitions.get(job.partition)
        if partition is None:
            return False
        while partition.seen and next(iter(partition.seen.values())) < now - DEDUPLICATION_S:
            partition.seen.popitem(last=False)
        if _seen_key(job) in partition.seen:
            return False
        partition.seen[_seen_key(job)] = now
        partition.scopes.update(scopes_of(job.batch)[1:])
        self._queue(job, partition)
        return True

    def put_back(self, job: Job) -> None:
        """Queue a job again; it waits until its `not_before`, and then goes before those of its property."""
        if partition := self._partitions.get(job.partition):
            self._queue(job, partition)

    def _queue(self, job: Job, partition: _Partition) -> None:
        tenant = Tenant(job.partition, job.batch.credential)
        partition.tenants.add(tenant)
        self._queues.setdefault(tenant, CredentialQueue()).add(job)
        self._rotation.wake(tenant)
        self._queued += 1

    def forget(self, job: Job) -> None:
        """Forget the id of a batch that was deferred or is dead, since it may be published again under this id."""
        if partition := self._partitions.get(job.partition):
            partition.seen.pop(_seen_key(job), None)

    def wake(self, job: Job) -> None:
        """Look again at the credential and the property of a job, since one of their calls has ended."""
        tenant = Tenant(job.partition, job.batch.credential)
        if queue := self._queues.get(tenant):
            queue.wake(job.batch.property)
            self._rotation.wake(tenant)

    def wake_scope(self, scope: str) -> None:
        """Look again at the jobs of a halt scope, since its halt has begun or ended."""
        kind, _, name = scope.partition(":")
        for tenant, queue in self._queues.items():
            self._rotation.wake(tenant)
            if kind == "property":
                queue.wake(name)
            elif kind != "credential" or name == tenant.credential:
                queue.wake_all()

    def others_wait(self, job: Job) -> bool:
        """Whether batches of other properties of the job's credential are queued."""
        queue = self._queues.get(Tenant(job.partition, job.batch.credential))
        return queue is not None and queue.has_others(job.batch.property)

    def next(self, now: float, waits: Waits) -> Job | float:
        """Remove and return the next job that need not wait.

        When every job must wait, return the seconds until the first one may start; inf when none is queued.
        """
        while (tenant := self._rotation.first(now)) is not None:
            job = waits.of_tenant(tenant) or self._queues[tenant].next(now, waits.of_job)
            if isinstance(job, Job):
                self._mark_taken(tenant)
                return job
            self._rotation.delay(tenant, now, job)
        return self._rotation.soonest(now)[1]

    def _mark_taken(self, tenant: Tenant) -> None:
        self._queued -= 1
        self._rotation.rotate(tenant)
        if not len(self._queues[tenant]):
            self._partitions[tenant.partition].tenants.discard(tenant)
            self._remove(tenant)

    def _remove(self, tenant: Tenant) -> None:
        del self._queues[tenant]
        self._rotation.discard(tenant)

    def heads(self, number: int, now: float) -> list[tuple[Job, float]]:
        """Return the job of each credential of a partition that may be the next one, with its wait, as far as known."""
        partition = self._partitions.get(number, _Partition())  # a partition that is drained has no queues any more
        found = [self._queues[tenant].soonest(now) for tenant in sorted(partition.tenants)]
        return [(job, wait) for job, wait in found if job is not None]

    def scopes(self, number: int) -> Set[str]:
        """The halt scopes of the batches that were queued since the partition was assigned, without `all`."""
        return self._partitions[number].scopes if number in self._partitions else frozenset()
