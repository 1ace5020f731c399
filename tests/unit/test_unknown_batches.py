"""Batches of a property that the fetcher's catalog does not have yet."""

from dataclasses import replace
from pathlib import Path

from fetcher.rate_limiter import RateLimiter
from fetcher.schedule import Job
from fetcher.service import Fetcher
from fetcher.unknown_batches import KEEP_UNKNOWN_S, UnknownBatches
from pipeline.catalog import Catalog, Credential, Property
from pipeline.clock import monotonic
from pipeline.contracts import codec
from pipeline.contracts.messages import Control
from pipeline.contracts.records import Record
from pipeline.offsets import AssignedPartition
from support.examples import NOW, a_batch
from support.fetcher import CAPACITY, CATALOG, UNLIMITED, World, a_fetcher, dead_letter_limits, run_during
from support.fetcher import a_record as batch_record
from support.wait import until

NEW = "sc-domain:new.example"
WITH_NEW = Catalog(
    credentials=(*CATALOG.credentials, Credential(id="other", type="service_account", file=Path("y"))),
    properties=(*CATALOG.properties, Property(url=NEW, credential="other")),
)


def a_job(number: int, partition: int = 0, url: str = NEW) -> Job:
    return Job(a_batch(property=url, credential="other", start_row=25_000 * number), partition, number)


def test_the_first_batch_of_a_property_is_told_from_the_others() -> None:
    unknown = UnknownBatches()
    assert [unknown.add(a_job(n, url=url), 0.0) for n, url in enumerate((NEW, NEW, "x", "x"))] == [
        True,
        False,
        True,
        False,
    ]


def test_jobs_are_kept_until_they_are_known_or_their_time_is_over() -> None:
    unknown = UnknownBatches()
    jobs = [a_job(0), a_job(1), a_job(2, url="x")]
    for moment, job in enumerate(jobs):
        unknown.add(job, float(moment))
    assert unknown.take_expired(KEEP_UNKNOWN_S - 0.1) == []
    assert unknown.take_expired(KEEP_UNKNOWN_S) == jobs[:1]
    assert unknown.take_known(lambda job: job.batch.property == NEW) == jobs[1:2]
    assert len(unknown) == 1


def test_jobs_of_released_partitions_are_dropped() -> None:
    unknown = UnknownBatches()
    for partition in (0, 1):
        unknown.add(a_job(0, partition), 0.0)
    unknown.drop([1])
    assert [job.partition for job in unknown.take_known(lambda _: True)] == [0]


def a_record(job: Job) -> Record:
    return Record("gsc.batches", job.partition, job.offset, b"other", codec.encode(job.batch), 0)


async def test_a_batch_is_fetched_once_the_catalog_has_its_property() -> None:
    world = World()
    world.may_answer.set()
    fetcher = await a_fetcher(world)
    await fetcher.receive([a_record(a_job(20)), a_record(a_job(21))])

    async def scene() -> None:
        await until(lambda: len(world.calls) == 20, 60, "the known pages are called")
        fetcher.reject_unknown(monotonic())
        assert all(call.property != NEW for call in world.calls)
        fetcher.replace_catalog(WITH_NEW)
        await until(lambda: len(world.results()) == 22, 60, "every page is published")

    await run_during(fetcher, scene)
    assert [call.property for call in world.calls[20:]] == [NEW, NEW]
    await fetcher.revoked([0])
    assert world.committed[-1].offset == 22


async def test_a_batch_that_no_catalog_has_is_dead_and_does_not_count_towards_the_limit() -> None:
    world = World()
    world.may_answer.set()
    fetcher = await a_fetcher(world)  # whose limit is 5 dead letters of 10 messages
    await fetcher.receive([a_record(a_job(number)) for number in range(20, 40)])

    async def scene() -> None:
        fetcher.reject_unknown(monotonic() + KEEP_UNKNOWN_S)
        await until(lambda: len(world.results()) == 40, 60, "every batch is finished")

    await run_during(fetcher, scene)
    assert len(world.on("gsc.dead-letters")) == 20


MOVED = Catalog(
    credentials=WITH_NEW.credentials, properties=(Property(url=CATALOG.properties[0].url, credential="other"),)
)


def moved(world: World) -> list[tuple[str, str, str]]:
    return [(outcome.state, outcome.reason, outcome.batch.credential) for outcome in world.outcomes()]


async def test_queued_batches_of_a_property_that_moves_to_another_credential_are_deferred_to_it() -> None:
    world = World()
    fetcher = await a_fetcher(world, replace(CAPACITY, max_concurrency=1))

    async def scene() -> None:
        await until(lambda: world.in_flight == 1, 5, "a call is in flight")
        world.halts.apply(Control(scope="credential:acme", state="halted", reason="lost", actor="a", at=NOW))
        fetcher.replace_catalog(MOVED)
        fetcher.halts_changed()
        await until(lambda: len(world.results()) == 20, 5, "every batch is finished")

    await run_during(fetcher, scene)
    assert len(world.calls) == 1
    assert sorted(moved(world)) == [("deferred", "halted", "acme"), *[("deferred", "moved", "other")] * 19]


async def test_batches_that_arrive_under_the_former_credential_are_deferred_to_the_one_of_the_catalog() -> None:
    world = World()
    fetcher = Fetcher(MOVED, CAPACITY, RateLimiter(UNLIMITED, 1), world.ports(), dead_letter_limits(5))
    await fetcher.assigned([AssignedPartition(0, 0, "")])
    await fetcher.receive([batch_record(number) for number in range(3)])

    async def scene() -> None:
        fetcher.reject_unknown(monotonic() + KEEP_UNKNOWN_S - 1)
        assert world.results() == []  # the catalog may be the older one
        fetcher.reject_unknown(monotonic() + KEEP_UNKNOWN_S)
        await until(lambda: len(world.results()) == 3, 5, "every batch is finished")

    await run_during(fetcher, scene)
    assert moved(world) == [("deferred", "moved", "other")] * 3
    assert (world.calls, world.on("gsc.dead-letters")) == ([], [])
    await fetcher.revoked([0])
    assert world.committed[-1].offset == 3


async def test_a_batch_that_waits_is_left_to_the_next_owner() -> None:
    world = World()
    world.may_answer.set()
    fetcher = await a_fetcher(world)
    await fetcher.receive([a_record(a_job(20))])

    async def scene() -> None:
        await until(lambda: len(world.results()) == 20, 60, "the known pages are published")

    await run_during(fetcher, scene)
    await fetcher.revoked([0])
    assert world.committed[-1].offset == 20
    await fetcher.assigned([AssignedPartition(0, 20, "")])
    fetcher.replace_catalog(WITH_NEW)
    assert len(world.calls) == 20
