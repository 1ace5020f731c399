"""Which batch is started next."""

from fetcher.rate_limiter import QuotaLimits, RateLimiter
from fetcher.schedule import Job, Schedule
from pipeline.contracts.identity import DEDUPLICATION_S
from support.examples import a_batch


def a_job(
    property_: str, start_row: int = 0, *, offset: int = 0, partition: int = 0, priority: str = "backfill"
) -> Job:
    return Job(a_batch(property=property_, start_row=start_row, priority=priority), partition, offset)


def a_schedule(*jobs: Job) -> Schedule:
    schedule = Schedule()
    schedule.assigned({job.partition for job in jobs} or {0})
    for job in jobs:
        assert schedule.add(job, 0.0)
    return schedule


def take_all(schedule: Schedule) -> list[str]:
    urls = []
    while isinstance(job := schedule.next(lambda _: 0.0), Job):
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
    first = schedule.next(lambda job: wait[job.batch.property])
    assert isinstance(first, Job)
    assert first.batch.property == "c"
    assert schedule.next(lambda job: wait[job.batch.property]) == 1.0


def test_an_empty_schedule_waits_without_end() -> None:
    assert a_schedule().next(lambda _: 0.0) == float("inf")


def test_a_repeated_batch_is_dropped_until_it_is_forgotten() -> None:
    schedule = a_schedule(a_job("a", offset=1))
    assert not schedule.add(a_job("a", offset=9), 10.0)
    job = schedule.next(lambda _: 0.0)
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
    assert schedule.next(lambda _: 0.0) is failed
    failed.not_before = 100.0
    schedule.put_back(failed)
    taken = []
    for now in (1.0, 2.0, 3.0, 101.0):
        job = schedule.next(lambda job, now=now: job.not_before - now)  # type: ignore[misc]
        taken.append(job.batch.start_row if isinstance(job, Job) else job)
    assert taken == [25_000, 50_000, 97.0, 0]


def test_the_soonest_job_of_a_partition_stays_queued() -> None:
    waits = {"a": 5.0, "b": 2.0, "c": 0.5}
    schedule = a_schedule(a_job("a"), a_job("b"), a_job("c", partition=1))
    job, wait = schedule.soonest(0, lambda job: waits[job.batch.property])
    assert (job and job.batch.property, wait) == ("b", 2.0)
    assert len(schedule) == 3
    schedule.revoked([0])
    schedule.assigned([0])
    assert schedule.soonest(0, lambda _: 0.0) == (None, float("inf"))


def test_a_partition_has_the_halt_scopes_of_its_batches() -> None:
    schedule = a_schedule(a_job("a"), a_job("c", partition=1))
    assert schedule.scopes(0) == {"credential:acme", "property:a", "run:run-1"}
    schedule.revoked([0])
    assert schedule.scopes(0) == set()


def test_a_daily_page_does_not_wait_for_the_backfill_of_another_property() -> None:
    """10,000 batches of one property are queued when the page of another arrives; their credential is at its quota."""
    schedule = a_schedule(*(a_job("big", 25_000 * number) for number in range(10_000)))
    limiter = RateLimiter(QuotaLimits(1200, 1200, 40_000, 0.8, 8), 12)
    limiter.assigned([0], 0.0)
    now = 0.0
    taken: list[tuple[str, float]] = []
    while len(taken) < 2000:
        job = schedule.next(lambda job, now=now: limiter.wait(job.batch, 0, now))  # type: ignore[misc]
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
