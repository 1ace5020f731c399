"""One request that plans a million pages: the producer's memory and event loop, and the outbox on that many pages."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter

import httpx
import psutil

from bench.environment import gauge_at, rss_mb, running_environment, running_pipeline
from bench.results import log_progress, write
from lab.call_log import percentile
from lab.driver import Driver
from lab.processes import Process, free_port
from lab.scenario import Scenario
from pipeline.clock import monotonic
from pipeline.contracts.records import PendingGroup, Position
from pipeline.ledger import pages
from pipeline.postgres import Connection, connection
from producer.outbox import WINDOW
from producer.planner import HISTORY_DAYS
from producer.queue_shares import Shares, choose_pages

DAYS = HISTORY_DAYS - 7
REPORTS = 3
CREDENTIALS = 100
ROUNDS = 300
PUBLISHED = 50_000
"""Pages that are published and finished before the outbox is measured a second time: they leave dead index entries."""


@dataclass
class Samples:
    """Samples of the producer, a few in each second."""

    rss_mb: list[float] = field(default_factory=list)
    loop_lag_s: list[float] = field(default_factory=list)


def run(total: int) -> None:
    """Plan at least `total` pages, measure, and write the figures."""
    properties = -(-total // (DAYS * REPORTS))
    scenario = Scenario(days=DAYS, properties=properties, credentials=CREDENTIALS, rows=1, full_days=False)
    port = free_port()
    with running_environment(scenario) as environment, running_pipeline(environment, "planning") as driver:
        for service in ("sink", "producer"):
            driver.services.processes[service].stop()
        producer = driver.services.start("producer", GSC_HTTP_PORT=str(port))
        write("planning", asyncio.run(_measure(driver, producer, port)))


async def _measure(driver: Driver, producer: Process, port: int) -> dict[str, object]:
    samples = Samples()
    while gauge_at(port, "gsc_publisher_leader") != 1:
        await asyncio.sleep(0.2)
    began = monotonic()
    run_ = await driver.request_sync(DAYS)
    while not (planned := sum((await driver.pages(run_)).values())):
        _sample(producer, port, samples)
        await asyncio.sleep(0.2)
    seconds = monotonic() - began
    for _ in range(20):  # the outbox begins to publish
        _sample(producer, port, samples)
        await asyncio.sleep(0.2)
    producer.stop()
    log_progress(f"{planned} pages planned in {seconds:.1f} s; measuring the outbox")
    async with connection(driver.setup.servers.dsn, application="gsc-bench") as conn:
        outbox = await _measure_outbox(conn)
    return {
        "pages": planned,
        "plan_s": round(seconds, 1),
        "pages_per_s": round(planned / seconds),
        "producer_rss_max_mb": round(max(samples.rss_mb), 1),
        "producer_loop_lag_max_s": round(max(samples.loop_lag_s), 3),
        **outbox,
    }


def _sample(producer: Process, port: int, samples: Samples) -> None:
    with suppress(psutil.NoSuchProcess, httpx.TransportError):
        samples.rss_mb.append(rss_mb(producer))
        samples.loop_lag_s.append(gauge_at(port, "gsc_event_loop_lag_seconds"))


async def _measure_outbox(conn: Connection) -> dict[str, object]:
    """Return what a round costs: as planned, with most credentials halted, and after many pages were published."""
    fresh = await _rounds(conn, halted=())
    halted = [f"reader-{number}" for number in range(2, CREDENTIALS + 1)]
    with_halts = await _rounds(conn, halted=halted)
    began = perf_counter()
    await pages.unfinished(conn)
    count_s = perf_counter() - began
    await _publish_and_finish(conn)
    used = await _rounds(conn, halted=())
    return {
        "round_ms": _figures(fresh),
        "round_halted_ms": _figures(with_halts),
        "round_after_publishing_ms": _figures(used),
        "count_s": round(count_s, 3),
    }


async def _rounds(conn: Connection, halted: Sequence[str]) -> list[float]:
    """Return the milliseconds of rounds as the outbox makes them, without publishing."""
    costs = []
    for _ in range(ROUNDS):
        began = perf_counter()
        await _choose(conn, halted, WINDOW)
        costs.append(1000 * (perf_counter() - began))
    return costs


async def _choose(conn: Connection, halted: Sequence[str], limit: int) -> list[str]:
    groups = [group for group in await pages.pending_groups(conn) if group.credential not in halted]
    published = await pages.published_by_credential(conn)
    chosen: dict[PendingGroup, int] = choose_pages(groups, Shares(10**6, published), limit)
    return [batch.batch_id for batch in await pages.next_pending(conn, chosen, [])]


async def _publish_and_finish(conn: Connection) -> None:
    groups = await pages.pending_groups(conn)
    for number in range(PUBLISHED // 1000):
        batches = await pages.next_pending(conn, choose_pages(groups, Shares(10**6, {}), 1000), [])
        positions = [Position(0, 1000 * number + offset) for offset in range(len(batches))]
        await pages.mark_published(conn, batches, positions)
        ids = [batch.batch_id for batch in batches]
        await conn.execute("update gsc.pages set state = 'applied' where batch_id = any(%s::uuid[])", (ids,))


def _figures(costs_ms: list[float]) -> dict[str, float]:
    return {
        "p50": round(percentile(costs_ms, 0.5), 2),
        "p99": round(percentile(costs_ms, 0.99), 2),
        "max": round(max(costs_ms), 2),
    }
