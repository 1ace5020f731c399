"""Outages are distinguished from pages at fault: simulated runs on a clock of their own."""

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from fetcher.chunks import FetchedPage
from fetcher.error_policy import retry_delay
from fetcher.outages import Outages
from fetcher.outcome import Done, Outcome, Retry
from fetcher.schedule import Job, Schedule, Tenant
from pipeline.metrics import gauge
from support.examples import a_batch

FAILED, DONE = Retry("http_503"), Done(FetchedPage(([],), [], [], [], []))
MAX_ATTEMPTS = 5
END_S = 900.0


@dataclass
class Run:
    """Pages that are called at a steady pace, in the order of the schedule."""

    answer: Callable[[Job, float], tuple[Outcome, float]]
    """The outcome of a call that starts at a moment, and its seconds."""
    concurrency: int = 32
    pace_s: float = 1 / 16
    outages: Outages = field(default_factory=Outages)
    schedule: Schedule = field(default_factory=Schedule)
    now: float = 0.0
    calls: list[float] = field(default_factory=list)
    dead: list[Job] = field(default_factory=list)
    done: int = 0
    ended: dict[str, float] = field(default_factory=dict)
    """When the last page of a credential was done."""

    def fetch(self, jobs: Sequence[Job]) -> None:
        """Call every page until it is done or dead."""
        self.schedule.assigned([0])
        for job in jobs:
            assert self.schedule.add(job, 0.0)
        in_flight: list[tuple[float, int, Job, Outcome]] = []
        while (len(self.schedule) or in_flight) and self.now < END_S:
            self.now += self.pace_s
            while in_flight and in_flight[0][0] <= self.now:
                ended, _, job, outcome = heapq.heappop(in_flight)
                self.outages.ended(job, outcome, ended)
                self._end(job, outcome, ended)
            taken = self.schedule.next(self.now, self) if len(in_flight) < self.concurrency else None
            if isinstance(taken, Job):
                self.outages.started(taken, self.now)
                self.calls.append(self.now)
                outcome, seconds = self._call(taken)
                heapq.heappush(in_flight, (self.now + seconds, len(self.calls), taken, outcome))

    def _call(self, job: Job) -> tuple[Outcome, float]:
        if page := self.outages.reference_page(job):
            outcome, seconds = self.answer(Job(page, 0, page.start_row // 25_000), self.now)
            if isinstance(outcome, Retry):
                return replace(outcome, counts=False, outage=True), seconds
            self.outages.reference_succeeded(job, self.now - self.pace_s / 2, self.now)
        return self.answer(job, self.now)

    def of_tenant(self, tenant: Tenant) -> float:
        return min(0.25, self.outages.wait(tenant.credential, self.now))

    def of_job(self, job: Job) -> float:
        return job.not_before - self.now

    def _end(self, job: Job, outcome: Outcome, now: float) -> None:
        self.schedule.wake(job)
        if isinstance(outcome, Done):
            self.done += 1
            self.ended[job.batch.credential] = now
        elif isinstance(outcome, Retry) and self.outages.in_progress(job):
            job.not_before = 0.0
            self.schedule.put_back(job)
        elif job.fails_alone and job.attempts >= MAX_ATTEMPTS:
            self.dead.append(job)
        elif isinstance(outcome, Retry):
            job.not_before = now + retry_delay(outcome, job.attempts, random.random())
            self.schedule.put_back(job)


def some_jobs(count: int, credential: str = "acme") -> list[Job]:
    url = f"sc-domain:{credential}.com"
    return [Job(a_batch(start_row=25_000 * n, credential=credential, property=url), 0, n) for n in range(count)]


def open_circuits() -> dict[str, float]:
    """Return the gauge by credential."""
    [metric] = gauge("gsc_circuit_open").collect()
    return {sample.labels["credential"]: sample.value for sample in metric.samples}


@pytest.mark.parametrize("concurrency", [1, 32])
@pytest.mark.parametrize("failure_s", [0.005, 1.0, 30.0])
@pytest.mark.parametrize(("begins", "lasts"), [(3.0, 20.0), (0.0, 300.0), (8.0, 20.0)])
def test_an_outage_costs_nothing_but_time(concurrency: int, failure_s: float, begins: float, lasts: float) -> None:
    random.seed(1)

    def answer(_: Job, now: float) -> tuple[Outcome, float]:
        return (FAILED, failure_s) if begins <= now < begins + lasts else (DONE, 0.2)

    run = Run(answer, concurrency)
    run.fetch(some_jobs(135))
    assert (run.done, run.dead) == (135, [])
    assert run.now < begins + lasts + 16 + failure_s + 135 * max(run.pace_s, 0.2 / concurrency) + 60
    in_outage = [now for now in run.calls if begins + 40 <= now < begins + lasts]
    assert len(in_outage) <= lasts / 7 + 1


@pytest.mark.parametrize("concurrency", [1, 32])
@pytest.mark.parametrize("latency_s", [0.2, 5.0])
@pytest.mark.parametrize("bad", [range(1), range(8), range(0, 60, 3), range(50, 55), range(57, 60)])
def test_pages_that_fail_while_others_succeed_are_dead_after_their_attempts(
    concurrency: int, latency_s: float, bad: range
) -> None:
    random.seed(1)

    def answer(job: Job, _: float) -> tuple[Outcome, float]:
        return (FAILED, 0.005) if job.offset in bad else (DONE, latency_s)

    run = Run(answer, concurrency)
    run.fetch(some_jobs(60))
    assert sorted(job.offset for job in run.dead) == list(bad)
    assert all(job.attempts == MAX_ATTEMPTS for job in run.dead)
    assert run.done == 60 - len(bad)


def test_a_second_outage_finds_no_attempts_of_the_first() -> None:
    random.seed(1)

    def answer(_: Job, now: float) -> tuple[Outcome, float]:
        return (FAILED, 0.005) if 3 <= now < 23 or 26 <= now < 60 else (DONE, 0.2)

    run = Run(answer)
    run.fetch(some_jobs(135))
    assert (run.done, run.dead) == (135, [])


def test_the_outage_of_one_credential_slows_no_other() -> None:
    def answer(job: Job, now: float) -> tuple[Outcome, float]:
        return (FAILED, 0.005) if job.batch.credential == "acme" and now < 120 else (DONE, 0.2)

    run = Run(answer)
    jobs = [job for pair in zip(some_jobs(60), some_jobs(60, "other"), strict=True) for job in pair]
    run.fetch(jobs)
    assert (run.done, run.dead) == (120, [])
    assert run.ended["other"] < 15
    assert run.ended["acme"] > 120


def test_without_an_access_token_no_attempt_is_counted_and_the_circuit_opens() -> None:
    outages, [job] = Outages(), some_jobs(1)
    no_token = Retry("the token endpoint fails", counts=False, outage=True)
    for second in range(100):
        outages.ended(job, no_token, float(second))
    assert (job.attempts, job.fails_alone, outages.in_progress(job)) == (0, False, True)
    assert outages.reason("acme") == ("credential acme: calls fail (the token endpoint fails), one tries now and then")
    outages.released([0])


def test_a_partition_that_is_released_takes_its_circuits_with_it() -> None:
    outages, [job] = Outages(), some_jobs(1)
    outages.started(job, 0.0)
    assert open_circuits() == {"acme": 0}
    for _ in range(3):
        outages.ended(job, FAILED, 0.0)
    outages.released([1])
    assert outages.any
    assert open_circuits() == {"acme": 1}
    outages.released([0])
    assert open_circuits() == {}
    assert not outages.any
