"""One request that plans a million pages: the producer's memory and event loop, and the outbox on that many pages."""

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from time import perf_counter, thread_time

import psutil

from bench.environment import gauge_at, rss_mb
from bench.results import log_progress, write
from lab.call_log import percentile
from lab.database import create_database
from lab.local_pipeline import Services, Setup, prepare
from lab.processes import Process, free_port
from lab.servers import ServerChoice, running_servers
from pipeline.catalog_file import read_catalog
from pipeline.clock import monotonic, now
from pipeline.contracts.identity import run_id
from pipeline.contracts.messages import SyncRequest
from pipeline.contracts.records import Position
from pipeline.ledger import pages, runs
from pipeline.minute_maximum import MINUTE_S
from pipeline.pacific import pacific_date
from pipeline.postgres import REPORT, Connection, connection
from pipeline.publisher import open_publisher, publish_request
from producer.intake import accept
from producer.outbox import WINDOW
from producer.plan_writer import write_chunk
from producer.planner import HISTORY_DAYS
from producer.queue_shares import Shares, choose_pages
from producer.sync_request import build_request

DAYS = HISTORY_DAYS
REPORTS = ("country", "device", "page")
CREDENTIALS = 100
ROUNDS = 300
STEP_DAYS = 20
"""Length of a second request, which is planned to measure its steps."""
PUBLISHED = 50_000
"""Pages that are published and finished before the outbox is measured a second time: they leave dead index entries."""


@dataclass
class Samples:
    """Samples of the producer, a few in each second."""

    rss_mb: list[float] = field(default_factory=list)
    loop_lag_s: list[float] = field(default_factory=list)


def run(total: int) -> None:
    """Plan at least `total` pages, measure, and write the figures."""
    with (
        tempfile.TemporaryDirectory(prefix="gsc-bench-", ignore_cleanup_errors=True) as scratch,
        running_servers(ServerChoice(), log_progress) as servers,
    ):
        folder = Path(scratch)
        catalog = folder / "catalog.yaml"
        catalog.write_text(_catalog(properties=-(-total // (DAYS * len(REPORTS)))))
        database = replace(servers, dsn=create_database(servers.dsn, "bench_planning"))
        setup = Setup(database, "http://127.0.0.1:1", catalog, folder, {"GSC_TOPIC_PREFIX": "bench-planning"})
        asyncio.run(prepare(setup))
        port, services = free_port(), Services(setup)
        try:
            producer = services.start("producer", GSC_HTTP_PORT=str(port))
            write("planning", asyncio.run(_measure(setup, producer, port)))
        finally:
            services.stop()


def _catalog(properties: int) -> str:
    """Return the text of a catalog. The producer reads no key file."""
    credentials = [f"  - {{id: reader-{n}, type: service_account, file: none.json}}" for n in range(CREDENTIALS)]
    sites = [
        f'  - {{url: "sc-domain:shop-{n}.example", credential: reader-{n % CREDENTIALS}}}' for n in range(properties)
    ]
    reports = [f"  - {{name: {name}, dimensions: [date, {name}]}}" for name in REPORTS]
    return "\n".join(["credentials:", *credentials, "properties:", *sites, "reports:", *reports])


async def _measure(setup: Setup, producer: Process, port: int) -> dict[str, object]:
    samples = Samples()
    while gauge_at(port, "gsc_producer_leader") != 1:
        await asyncio.sleep(0.2)
    async with connection(setup.servers.dsn, application="gsc-bench", limits=REPORT) as conn:
        await asyncio.sleep(MINUTE_S)  # after it, pauses of the start of the process do not count
        log_progress("planning")
        began = monotonic()
        run_ = await _request(setup)
        while not (progress := await runs.progress(conn, run_)) or not progress.planned_at:
            await _sample(producer, port, samples)
        seconds = monotonic() - began
        for _ in range(20):  # the outbox begins to publish
            await _sample(producer, port, samples)
        producer.stop()
        planned = progress.total
        log_progress(f"{planned} pages in {seconds:.1f} s; measuring the outbox")
        await pages.use_index_scans(conn)
        step_ms = await _longest_step_ms(conn, setup)
        outbox = await _measure_outbox(conn)
    return {
        "pages": planned,
        "plan_s": round(seconds, 1),
        "pages_per_s": round(planned / seconds),
        "producer_rss_max_mb": round(max(samples.rss_mb), 1),
        "producer_loop_lag_max_s": round(max(samples.loop_lag_s), 3),
        "longest_step_cpu_ms": step_ms,
        **outbox,
    }


async def _request(setup: Setup) -> str:
    """Publish the sync request; return the run's id."""
    request = _sync_request(DAYS)
    async with open_publisher(setup.kafka, "gsc-bench") as publisher:
        await publish_request(publisher, setup.prefix, request)
    return run_id(request.request_id)


def _sync_request(days: int) -> SyncRequest:
    today = pacific_date(now())
    fields = {"start": str(today - timedelta(days=days - 1)), "end": str(today), "all": True}
    return build_request(fields, now=now(), today=today, requested_by="bench")


async def _sample(producer: Process, port: int, samples: Samples) -> None:
    with suppress(psutil.NoSuchProcess):
        samples.rss_mb.append(rss_mb(producer))
    samples.loop_lag_s.append(await asyncio.to_thread(gauge_at, port, "gsc_event_loop_lag_seconds"))
    await asyncio.sleep(0.25)


async def _measure_outbox(conn: Connection) -> dict[str, object]:
    """Return what a round costs: as planned, with most credentials halted, and after many pages were published."""
    fresh = await _rounds(conn, halted=())
    halted = [f"reader-{number}" for number in range(1, CREDENTIALS)]
    with_halts = await _rounds(conn, halted=halted)
    began = perf_counter()
    await pages.unfinished(conn)
    count_s = perf_counter() - began
    await _publish_and_finish(conn)
    used = await _rounds(conn, halted=())
    return {
        "round_ms": fresh,
        "round_halted_ms": with_halts,
        "round_after_publishing_ms": used,
        "count_s": round(count_s, 3),
    }


async def _rounds(conn: Connection, halted: Sequence[str]) -> dict[str, float]:
    """Return the milliseconds of rounds as the outbox makes them, without publishing.

    On a busy machine most of a round is waiting for a CPU, so the CPU time of both processes is measured, too.
    """
    server, costs_ms = psutil.Process(conn.info.backend_pid), []
    server_cpu, client_cpu = sum(server.cpu_times()[:2]), thread_time()
    for _ in range(ROUNDS):
        began = perf_counter()
        await _choose(conn, halted, WINDOW)
        costs_ms.append(1000 * (perf_counter() - began))
    return {
        "p50": round(percentile(costs_ms, 0.5), 2),
        "p99": round(percentile(costs_ms, 0.99), 2),
        "min": round(min(costs_ms), 2),
        "cpu_postgres": round(1000 * (sum(server.cpu_times()[:2]) - server_cpu) / ROUNDS, 2),
        "cpu_producer": round(1000 * (thread_time() - client_cpu) / ROUNDS, 2),
    }


async def _choose(conn: Connection, halted: Sequence[str], limit: int) -> list[str]:
    groups = [group for group in await pages.pending_groups(conn) if group.credential not in halted]
    published = await pages.published_by_credential(conn)
    chosen = choose_pages(groups, Shares(10**6, published), limit)
    return [batch.batch_id for batch in await pages.next_pending(conn, chosen, [])]


async def _publish_and_finish(conn: Connection) -> None:
    groups = await pages.pending_groups(conn)
    for number in range(PUBLISHED // 1000):
        batches = await pages.next_pending(conn, choose_pages(groups, Shares(10**6, {}), 1000), [])
        positions = [Position(0, 1000 * number + offset) for offset in range(len(batches))]
        await pages.mark_published(conn, batches, positions)
        ids = [batch.batch_id for batch in batches]
        await conn.execute("update gsc.pages set state = 'applied' where batch_id = any(%s::uuid[])", (ids,))


async def _longest_step_ms(conn: Connection, setup: Setup) -> float:
    """Plan another request in this process; return the most CPU time that the loop worked without a pause."""
    catalog = read_catalog(setup.catalog)
    steps_ms = [0.0]

    async def watch() -> None:
        while True:
            began = thread_time()
            await asyncio.sleep(0)
            steps_ms.append(1000 * (thread_time() - began))

    watcher = asyncio.create_task(watch())
    await accept(conn, _sync_request(days=STEP_DAYS), catalog, now())
    while waiting := await runs.unplanned(conn):
        await write_chunk(conn, waiting[0], catalog)
    watcher.cancel()
    return round(max(steps_ms), 1)
