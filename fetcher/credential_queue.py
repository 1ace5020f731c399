"""The queued jobs of one credential. Pure: time is an argument, on a monotonic clock.

Daily batches go before backfills. Within each, properties take turns, and a property that has to wait is out of the
rotation until its time, or until `wake`.
"""

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Generic, Protocol, TypeVar

from fetcher.rotation import Rotation
from pipeline.contracts.messages import PRIORITIES, Batch, Priority


class Queued(Protocol):
    """What a queue needs of a job."""

    batch: Batch
    not_before: float
    """The job may not start earlier; 0 for one that was never started."""


J = TypeVar("J", bound=Queued)


class _PropertyQueue(Generic[J]):
    """The jobs of a property. One that waits for a retry does not delay those behind it."""

    def __init__(self) -> None:
        self._new: deque[J] = deque()
        self._retries: list[tuple[float, int, J]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._new) + len(self._retries)

    def add(self, job: J) -> None:
        if job.not_before:
            heappush(self._retries, (job.not_before, next(self._order), job))
        else:
            self._new.append(job)

    def head(self, now: float) -> J:
        """Return the next job: a retry whose time has come, or else a new one, or else the first retry."""
        return self._retries[0][2] if self._retry_first(now) else self._new[0]

    def remove_head(self, now: float) -> None:
        if self._retry_first(now):
            heappop(self._retries)
        else:
            self._new.popleft()

    def _retry_first(self, now: float) -> bool:
        return not self._new or bool(self._retries and self._retries[0][0] <= now)


class _PriorityQueue(Generic[J]):
    """The jobs of one priority, by property."""

    def __init__(self) -> None:
        self._properties: dict[str, _PropertyQueue[J]] = {}
        self._rotation: Rotation[str] = Rotation()

    def add(self, job: J) -> None:
        self._properties.setdefault(job.batch.property, _PropertyQueue()).add(job)
        self._rotation.wake(job.batch.property)

    def has_others(self, url: str) -> bool:
        return len(self._properties) > (url in self._properties)

    def wake(self, url: str) -> None:
        if url in self._properties:
            self._rotation.wake(url)

    def wake_all(self) -> None:
        for url in self._properties:
            self._rotation.wake(url)

    def next(self, now: float, wait_of: Callable[[J], float]) -> J | float:
        while (url := self._rotation.first(now)) is not None:
            job = self._properties[url].head(now)
            wait = wait_of(job)
            if wait <= 0:
                self._take(url, now)
                return job
            self._rotation.delay(url, now, wait)
        return self._rotation.soonest(now)[1]

    def _take(self, url: str, now: float) -> None:
        self._properties[url].remove_head(now)
        if len(self._properties[url]):
            self._rotation.rotate(url)
        else:
            self._rotation.discard(url)
            del self._properties[url]

    def soonest(self, now: float) -> tuple[J | None, float]:
        url, wait = self._rotation.soonest(now)
        return (None if url is None else self._properties[url].head(now)), wait


class CredentialQueue(Generic[J]):
    """The jobs of a credential, by priority and property."""

    def __init__(self) -> None:
        self._priorities: dict[Priority, _PriorityQueue[J]] = {priority: _PriorityQueue() for priority in PRIORITIES}
        self._jobs = 0

    def __len__(self) -> int:
        return self._jobs

    def add(self, job: J) -> None:
        """Queue a job: behind those of its property, or before them once its `not_before` has come."""
        self._priorities[job.batch.priority].add(job)
        self._jobs += 1

    def has_others(self, url: str) -> bool:
        """Whether properties other than this one have jobs."""
        return any(queue.has_others(url) for queue in self._priorities.values())

    def wake(self, url: str) -> None:
        """Look again at a property."""
        for queue in self._priorities.values():
            queue.wake(url)

    def wake_all(self) -> None:
        """Look again at every property."""
        for queue in self._priorities.values():
            queue.wake_all()

    def next(self, now: float, wait_of: Callable[[J], float]) -> J | float:
        """Remove and return the next job that need not wait, else the seconds until one may start; inf when empty."""
        waits = []
        for queue in self._priorities.values():
            job = queue.next(now, wait_of)
            if not isinstance(job, float):
                self._jobs -= 1
                return job
            waits.append(job)
        return min(waits)

    def soonest(self, now: float) -> tuple[J | None, float]:
        """Return the job that may be the next one, and its wait as far as it is known; (None, inf) when empty."""
        return min((queue.soonest(now) for queue in self._priorities.values()), key=lambda item: item[1])
