"""Batches whose property the catalog does not have yet, or not with this credential. Pure: time is an argument.

They are kept for some minutes, in which a new version may arrive; their offsets are not committed meanwhile.
"""

from collections.abc import Callable, Iterable

from fetcher.schedule import Job

KEEP_UNKNOWN_S = 300.0
"""Kubernetes brings a changed ConfigMap to every node within about two minutes."""


class UnknownBatches:
    """Jobs that wait for the catalog, each with the time until which it is kept."""

    def __init__(self) -> None:
        self._jobs: dict[Job, float] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job, now: float) -> bool:
        """Keep a job. Return whether it is the first one of its property."""
        is_first = all(other.batch.property != job.batch.property for other in self._jobs)
        self._jobs[job] = now + KEEP_UNKNOWN_S
        return is_first

    def drop(self, partitions: Iterable[int]) -> None:
        """Forget the jobs of partitions that are not held any more."""
        numbers = set(partitions)
        self._jobs = {job: until for job, until in self._jobs.items() if job.partition not in numbers}

    def take_known(self, is_known: Callable[[Job], bool]) -> list[Job]:
        """Remove and return the jobs that the catalog knows now."""
        return self._take([job for job in self._jobs if is_known(job)])

    def take_expired(self, now: float) -> list[Job]:
        """Remove and return the jobs that have waited long enough."""
        return self._take([job for job, until in self._jobs.items() if now >= until])

    def _take(self, jobs: list[Job]) -> list[Job]:
        for job in jobs:
            del self._jobs[job]
        return jobs
