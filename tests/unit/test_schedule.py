"""Which batch is started next."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from fetcher.quota_limits import QuotaLimits
from fetcher.rate_limiter import RateLimiter
from fetcher.schedule import Job, Schedule, Tenant
from pipeline.contracts.identity import DEDUPLICATION_S
from pipeline.contracts.messages import Base
from support.examples import a_batch


@dataclass
class FixedWaits:
    """Waits as functions; what was asked is recorded."""

    job: Callable[[Job], float] = lambda _: 0.0
    tenant: Callable[[Tenant], float] = lambda _: 0.0
    asked: list[str] = field(default_factory=list)

    def of_tenant(self, tenant: Tenant) -> float:
        self.asked.append(tenant.credential)
        return self.tenant(tenant)

    def of_job(self, job: Job) -> float:
        self.asked.append(job.batch.property)
        return self.job(job)


NO_WAIT = FixedWaits()


def a_job(
    property_: str,
    start_row: int = 0,
    *,
    offset: int = 0,
    partition: int = 0,
    priority: str = "backfill",
    credential: str = "acme",
) -> Job:
    batch = a_batch(property=property_, start_row=start_row, priority=priority, credential=credential)
    return Job(batch, partition, offset)


def a_schedule(*jobs: Job) -> Schedule:
    schedule = Schedule()
    schedule.assigned({job.partition for job in jobs} or {0})
    for job in jobs:
        assert schedule.add(job, 0.0)
    return schedule


def take_all(schedule: Schedule) -> list[str]:
    urls = []
    while isinstance(job := schedule.next(0.0, NO_WAIT), Job):
        urls.append(job.batch.property)
    return urls


def test_properties_take_turns() -> None:
    schedule = a_schedule(*(a_job("a", n) for n in range(3)), *(a_job("b", n) for n in range(2)))
    assert take_all(schedule) == ["a", "b", "a", "b", "a"]
    assert len(schedule) == 0


def test_the_daily_page_goes_before_a_backfill() -> None:
    schedule = a_schedule(*(a_job("a", n) for n in range(100)), a_job("b", priority="daily"))
    assert take_all(schedule)[0] == "b"


def test_a_property_that_waits_delays_no_other() -> None:
    schedule = a_schedule(a_job("a"), a_job("b"), a_job("c", partition=1))
    wait = {"a": 3.0, "b": 1.0, "c": 0.0}
    waits = FixedWaits(lambda job: wait[job.batch.property])
    first = schedule.next(0.0, waits)
    assert isinstance(first, Job)
    assert first.batch.property == "c"
    assert schedule.next(0.0, waits) == 1.0


def test_an_empty_schedule_waits_without_end() -> None:
    assert a_schedule().next(0.0, NO_WAIT) == float("inf")


def test_a_page_that_was_compared_with_a_base_may_be_published_again_without_one() -> None:
    schedule = Schedule()
    schedule.assigned([0])
    batch = a_batch(base=Base(generation=4, digests=("a" * 32,)))
    assert schedule.add(Job(batch, 0, 0), now=0.0)
    assert not schedule.add(Job(batch, 0, 1), now=1.0)
    assert schedule.add(Job(a_batch(), 0, 2), now=1.0)
    assert not schedule.add(Job(a_batch(), 0, 3), now=1.0)


def test_a_repeated_batch_is_dropped_until_it_is_forgotten() -> None:
    schedule = a_schedule(a_job("a", offset=1))
    assert not schedule.add(a_job("a", offset=9), 10.0)
    job = schedule.next(0.0, NO_WAIT)
    assert isinstance(job, Job)
    assert not schedule.add(a_job("a", offset=10), 20.0)
    schedule.forget(job)
    assert schedule.add(a_job("a", offset=11), 30.0)


def test_ids_are_remembered_for_a_bounded_time() -> None:
    schedule = a_schedule(a_job("a"))
    assert schedule.add(a_job("a", offset=5), DEDUPLICATION_S + 1)


def test_revoked_partitions_are_forgotten() -> None:
    schedule = a_schedule(a_job("a"), a_job("b", partition=1))
    schedule.revoked([0])
    assert len(schedule) == 1
    assert not schedule.add(a_job("z"), 0.0)
    schedule.put_back(a_job("z"))
    schedule.forget(a_job("z"))
    schedule.revoked([0])
    assert take_all(schedule) == ["b"]


def test_a_job_that_waits_for_a_retry_does_not_delay_those_behind_it() -> None:
    failed = a_job("a")
    schedule = a_schedule(failed, a_job("a", 25_000), a_job("a", 50_000))
    assert schedule.next(0.0, NO_WAIT) is failed
    failed.not_before = 100.0
    schedule.put_back(failed)
    taken = []
    for now in (1.0, 2.0, 3.0, 101.0):
        job = schedule.next(now, FixedWaits(lambda job, now=now: job.not_before - now))  # type: ignore[misc]
        taken.append(job.batch.start_row if isinstance(job, Job) else job)
    assert taken == [25_000, 50_000, 97.0, 0]


def test_the_next_jobs_of_the_credentials_of_a_partition_stay_queued() -> None:
    jobs = [a_job("a"), a_job("b"), a_job("d", credential="other"), a_job("c", partition=1)]
    schedule = a_schedule(*jobs)
    waits = {"a": 5.0, "b": 2.0, "c": 0.5, "d": 1.0}
    schedule.next(0.0, FixedWaits(lambda job: waits[job.batch.property]))
    assert schedule.heads(0, 0.0) == [(jobs[1], 2.0), (jobs[2], 1.0)]
    assert len(schedule) == 4
    schedule.revoked([0])
    schedule.assigned([0])
    assert schedule.heads(0, 0.0) == []


def test_a_partition_has_the_halt_scopes_of_its_batches() -> None:
    schedule = a_schedule(a_job("a"), a_job("c", partition=1))
    assert schedule.scopes(0) == {"project:default", "credential:acme", "property:a", "run:run-1"}
    schedule.revoked([0])
    assert schedule.scopes(0) == set()


@dataclass
class TokenWaits:
    """The waits for tokens at one moment."""

    limiter: RateLimiter
    now: float

    def of_tenant(self, tenant: Tenant) -> float:
        return self.limiter.shared_wait(tenant.credential, tenant.partition, self.now)

    def of_job(self, job: Job) -> float:
        return self.limiter.property_wait(job.batch.property, job.partition, self.now)


def test_a_daily_page_does_not_wait_for_the_backfill_of_another_property() -> None:
    """10,000 batches of one property are queued when the page of another arrives; their credential is at its quota."""
    schedule = a_schedule(*(a_job("big", 25_000 * number) for number in range(10_000)))
    limiter = RateLimiter(QuotaLimits(1200, 1200, 40_000, 0.8, 8), 12)
    limiter.assigned([0], 0.0)
    now = 0.0
    taken: list[tuple[str, float]] = []
    while len(taken) < 2000:
        job = schedule.next(now, TokenWaits(limiter, now))
        if isinstance(job, Job):
            limiter.take(job.batch, 0, now)
            taken.append((job.batch.property, now))
        else:
            now += job
        if len(taken) == 1000:
            queued_at = now
            schedule.add(a_job("small", priority="daily"), now)
            schedule.add(a_job("other"), now)
    delays = {name: moment - queued_at for name, moment in taken if name != "big"}
    assert set(delays) == {"small", "other"}
    assert max(delays.values()) < 0.3  # a few tokens at 15.6 a second


def test_credentials_take_turns_whatever_their_priority() -> None:
    backfills = [a_job(f"a{n}", credential="a") for n in range(3)]
    daily = [a_job(f"b{n}", credential="b", priority="daily") for n in range(3)]
    assert take_all(a_schedule(*backfills, *daily)) == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_what_a_credential_waits_for_is_checked_once_and_not_for_each_property() -> None:
    schedule = a_schedule(*(a_job(f"p{n}") for n in range(100)), a_job("q", credential="other"))
    waits = FixedWaits(tenant=lambda tenant: 7.0 * (tenant.credential == "acme"))
    job = schedule.next(0.0, waits)
    assert isinstance(job, Job)
    assert (job.batch.property, waits.asked) == ("q", ["acme", "other", "q"])
    assert schedule.next(0.0, waits) == 7.0


def test_a_property_that_waits_is_not_looked_at_before_its_time() -> None:
    schedule = a_schedule(*(a_job(f"p{n}") for n in range(100)))
    waits = FixedWaits(job=lambda _: 5.0)
    assert schedule.next(0.0, waits) == 5.0
    asked = len(waits.asked)
    assert schedule.next(4.0, waits) == 1.0
    assert len(waits.asked) == asked
    assert isinstance(schedule.next(5.0, NO_WAIT), Job)


def test_a_property_that_waits_is_looked_at_again_when_it_is_woken() -> None:
    jobs = [a_job("a"), a_job("a", 25_000), a_job("b"), a_job("c", credential="other")]
    schedule = a_schedule(*jobs)
    assert schedule.next(0.0, FixedWaits(job=lambda _: 60.0)) == 60.0
    assert schedule.next(1.0, NO_WAIT) == 59.0
    schedule.wake(jobs[0])
    assert schedule.next(1.0, NO_WAIT) is jobs[0]
    assert schedule.next(1.0, FixedWaits(job=lambda _: 60.0)) == 59.0
    for scope, job in (("property:b", jobs[2]), ("credential:other", jobs[3]), ("all", jobs[1])):
        schedule.wake_scope("property:unknown")
        assert schedule.next(1.0, NO_WAIT) == 59.0 + (scope == "all")
        schedule.wake_scope(scope)
        assert schedule.next(1.0, NO_WAIT) is job


def test_a_retry_whose_time_has_come_goes_first_of_its_property() -> None:
    failed = a_job("a")
    schedule = a_schedule(failed, a_job("a", 25_000), a_job("a", 50_000))
    assert schedule.next(0.0, NO_WAIT) is failed
    failed.not_before = 10.0
    schedule.put_back(failed)
    waits = FixedWaits(lambda job: job.not_before - 10.0)
    assert schedule.next(10.0, waits) is failed


class LinearSchedule:
    """A plain model: every queued job is looked at each time."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def startable(self, now: float, waits: FixedWaits) -> list[Job]:
        """Return the jobs that the rules allow to be next, whichever credential or property has its turn."""
        ready = [
            job for job in self.jobs if waits.of_tenant(Tenant(0, job.batch.credential)) <= 0 and waits.of_job(job) <= 0
        ]
        daily = {job.batch.credential for job in ready if job.batch.priority == "daily"}
        return [job for job in ready if job.batch.priority == "daily" or job.batch.credential not in daily]


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_job_is_started_whenever_the_linear_model_has_one(data: st.DataObject) -> None:
    """Tokens of credentials and properties, as times until which they wait; a retry, too, waits for its time."""
    schedule, model, now, number = a_schedule(), LinearSchedule(), 0.0, 0
    until: dict[str, float] = {}
    waits = FixedWaits(
        job=lambda job: max(job.not_before, until.get(job.batch.property, 0.0)) - now,
        tenant=lambda tenant: max(0.0, until.get(tenant.credential, 0.0) - now),
    )
    for _ in range(data.draw(st.integers(1, 30))):
        for _ in range(data.draw(st.integers(0, 3))):
            credential = data.draw(st.sampled_from("AB"))
            url = credential + data.draw(st.sampled_from("xyz"))
            job = a_job(url, number, credential=credential, priority=data.draw(st.sampled_from(["daily", "backfill"])))
            number += 1
            assert schedule.add(job, now)
            model.jobs.append(job)
        taken = schedule.next(now, waits)
        startable = model.startable(now, waits)
        if not isinstance(taken, Job):
            assert startable == []
            assert taken > 0
            now += data.draw(st.sampled_from([0.5, 1.0, min(taken, 10.0)]))
            continue
        assert taken in startable
        model.jobs.remove(taken)
        now += data.draw(st.sampled_from([0.0, 0.25]))
        for key in (taken.batch.credential, taken.batch.property):
            until[key] = now + data.draw(st.sampled_from([0.0, 0.25, 1.0, 5.0]))
        if data.draw(st.booleans()):
            taken.not_before = now + data.draw(st.sampled_from([0.0, 2.0]))
            schedule.put_back(taken)
            model.jobs.append(taken)
    assert len(schedule) == len(model.jobs)
