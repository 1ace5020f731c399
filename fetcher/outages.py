"""Outages of the API, as the calls see them: the circuit breaker with its log lines and metrics.

A page is at fault only when it fails while other calls of its credential succeed: only then are its attempts counted.
When nothing else is left to call, a page that was fetched before is asked again, for one row.
"""

import random
from collections import defaultdict
from collections.abc import Iterable

from msgspec.structs import replace

from fetcher.circuit_breaker import CircuitBreaker, FailedCall
from fetcher.outcome import Done, Outcome, Retry
from fetcher.schedule import Job
from pipeline.contracts.messages import Batch
from pipeline.log import logger
from pipeline.metrics import gauge

_log = logger(__name__)


class Outages:
    """Decides when calls may start during an outage, and which failures are a page's own."""

    def __init__(self) -> None:
        self._breaker = CircuitBreaker()
        self._partitions: dict[str, int] = {}
        self._fetched: dict[str, Batch] = {}
        """The last page of each credential that was fetched."""
        self._in_flight: defaultdict[str, set[Job]] = defaultdict(set)

    def wait(self, credential: str, moment: float) -> float:
        """Return the seconds until a call of a credential may start; 0 when there is no outage."""
        return self._breaker.wait(credential, moment)

    def reason(self, credential: str) -> str | None:
        """Return why the calls of a credential wait for the end of an outage, or None."""
        reason = self._breaker.open_circuits().get(credential)
        return None if reason is None else f"credential {credential}: calls fail ({reason}), one tries now and then"

    @property
    def any(self) -> bool:
        """Whether there is an outage for any credential."""
        return bool(self._breaker.open_circuits())

    def started(self, job: Job, moment: float) -> None:
        """Record that the call of a job starts."""
        if job.batch.credential not in self._partitions:
            gauge("gsc_circuit_open").labels(job.batch.credential).set(0)
        self._partitions[job.batch.credential] = job.partition
        self._in_flight[job.batch.credential].add(job)
        self._breaker.started(job.batch.credential, moment, _draw())

    def released(self, partitions: Iterable[int]) -> None:
        """Forget the credentials of partitions that are no longer held."""
        numbers = set(partitions)
        for credential in [name for name, partition in self._partitions.items() if partition in numbers]:
            del self._partitions[credential]
            self._in_flight.pop(credential, None)
            self._fetched.pop(credential, None)
            self._breaker.forget(credential)
        self._show()

    def _show(self) -> None:
        gauge("gsc_circuit_open").clear()
        for credential in self._partitions:
            gauge("gsc_circuit_open").labels(credential).set(self._breaker.is_open(credential))

    def cancelled(self, job: Job) -> None:
        """Record that the call of a job was cancelled; nothing happens when it has ended."""
        self._in_flight[job.batch.credential].discard(job)

    def ended(self, job: Job, outcome: Outcome, moment: float) -> None:
        """Record the outcome of a call, or of the request for its access token."""
        others = self._in_flight[job.batch.credential]
        others.discard(job)
        if isinstance(outcome, Retry) and (outcome.counts or outcome.outage):
            self._failed(job, outcome, FailedCall(moment, outcome.reason, bool(others)))
        else:
            self._answered(job.batch.credential, moment)
        if isinstance(outcome, Done):
            self._fetched[job.batch.credential] = job.batch

    def reference_succeeded(self, job: Job, started: float, moment: float) -> None:
        """Record that the API has answered for the reference page of a job: if the job fails now, it fails alone."""
        self._answered(job.batch.credential, moment)
        if not job.fails_alone:
            job.failing_since, job.attempts = started, 0

    def _answered(self, credential: str, moment: float) -> None:
        if closed := self._breaker.succeeded(credential, moment):
            _log.info("circuit_closed", credential=credential, open_s=round(closed.seconds, 1))
            self._show()

    def reference_page(self, job: Job) -> Batch | None:
        """Return the reference page: it is asked for one row before a job that may be at fault is tried.

        It is the last page of the credential that was fetched. None when there is no outage,
        the job has not failed yet, or nothing was fetched before.
        """
        if job.failing_since is None or not self.in_progress(job):
            return None
        page = self._fetched.get(job.batch.credential)
        return page and replace(page, row_limit=1)

    def _failed(self, job: Job, retry: Retry, failure: FailedCall) -> None:
        credential = job.batch.credential
        if retry.counts:
            self._compare_with_others(job, failure.at)
        is_own = retry.counts and job.fails_alone
        if not is_own and self._breaker.failed(credential, failure, _draw()):
            _log.error("circuit_opened", credential=credential, reason=failure.reason)
            self._show()
        if retry.counts and not self._breaker.is_open(credential):
            job.attempts += 1

    def _compare_with_others(self, job: Job, moment: float) -> None:
        """Find out whether other calls have succeeded since the job's first failure, with no outage in between."""
        credential = job.batch.credential
        if job.failing_since is None or (
            not job.fails_alone and self._breaker.opened_since(credential, job.failing_since)
        ):
            job.failing_since, job.attempts = moment, 0
        elif self._breaker.succeeded_since(credential, job.failing_since):
            job.fails_alone = True

    def in_progress(self, job: Job) -> bool:
        """Whether the calls of the job's credential wait for the end of an outage."""
        return self._breaker.is_open(job.batch.credential)


def _draw() -> float:
    return random.random()  # noqa: S311 - not for secrets
