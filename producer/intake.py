"""The handler of sync requests: each becomes a run with pending pages in the ledger, or a dead letter."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from pipeline.catalog import Catalog
from pipeline.clock import now
from pipeline.contracts import codec
from pipeline.contracts.identity import run_id
from pipeline.contracts.messages import SyncRequest
from pipeline.contracts.records import Record
from pipeline.dead_letter_limit import DeadLetterLimit
from pipeline.dead_letters import DeadLetter, DeadLetterPublisher, publish_dead_letter
from pipeline.errors import Invalid, Retryable
from pipeline.ledger import pages, runs
from pipeline.log import logger
from pipeline.pacific import pacific_date
from pipeline.postgres import Connect, Connection, database_errors
from producer.outbox import Outbox
from producer.planner import ROW_LIMIT, PlannedPage, plan, series_of
from producer.sync_request import id_conflict, validate

SERVICE: Final = "producer"
RETRY_S = 1.0
PAGES_PER_COPY = 1000

_log = logger(__name__)


@dataclass(frozen=True)
class Ports:
    """What the intake talks to. `prefix` is that of the topics."""

    prefix: str
    publisher: DeadLetterPublisher
    outbox: Outbox
    connect: Connect


class Intake:
    """Writes requests to the ledger. No request is skipped: while a server is away, the request waits."""

    def __init__(self, catalog: Catalog, ports: Ports, limit: DeadLetterLimit) -> None:
        self._catalog = catalog
        self._ports = ports
        self._limit = limit
        self.failure: Exception | None = None
        """Why no more requests are processed. Faust would swallow an exception."""

    def replace_catalog(self, catalog: Catalog) -> None:
        """Plan with another catalog from the next request on."""
        self._catalog = catalog

    async def process(self, record: Record) -> None:
        """Plan a request, or dead-letter it. Returns when either is stored, otherwise never."""
        while True:
            try:
                return await self._process(record)
            except Retryable as error:
                _log.warning("intake_waits", error=str(error), retry_s=RETRY_S)
                await asyncio.sleep(RETRY_S)
            except Exception as error:  # any error: Faust would continue and commit the request
                self.failure = error
                await asyncio.Event().wait()  # until the process ends; the next one reads the request again

    async def _process(self, record: Record) -> None:
        try:
            request = codec.decode(SyncRequest, record.value)
            catalog = self._catalog  # one version for the whole run
            if problems := validate(request, catalog, pacific_date(now())):
                raise Invalid("; ".join(map(str, problems)))
            async with self._ports.connect() as conn:
                planned = await plan_run(conn, request, catalog, now())
        except Invalid as error:
            dead_letter = DeadLetter(record, SERVICE, "invalid_request", str(error))
            await publish_dead_letter(self._ports.publisher, self._ports.prefix, dead_letter)
            self._limit.record_dead(record.partition, str(error))
            return
        self._limit.record_done(record.partition)
        _log.info("run_planned", run_id=planned.run_id, request_id=request.request_id, pages=planned.pages)
        self._ports.outbox.notify()


@dataclass(frozen=True)
class PlannedRun:
    """The run of a request. `pages` is 0 when the run existed already."""

    run_id: str
    pages: int


async def plan_run(conn: Connection, request: SyncRequest, catalog: Catalog, now: datetime) -> PlannedRun:
    """Write the run and its first pages in one transaction. The same request again changes nothing.

    Raises Invalid when another request used the request id, Retryable when PostgreSQL cannot be reached.
    """
    run = run_id(request.request_id)
    numbers = await runs.series_numbers(conn, series_of(request, catalog))
    async with database_errors(), conn.transaction():
        generation = await runs.create_run(conn, request, now)
        if generation is None:
            await _check_same_request(conn, request)
            return PlannedRun(run, 0)
        planned = plan(request, catalog, generation, pacific_date(request.requested_at))
        rows = (_ledger_row(page, request, generation, numbers[page.series()]) for page in planned)
        return PlannedRun(run, await _insert_pages(conn, rows))


async def _check_same_request(conn: Connection, request: SyncRequest) -> None:
    run = run_id(request.request_id)
    stored = await runs.stored_run(conn, run)
    if stored is None:
        raise Invalid(f"another run has the id or the generation of {request.request_id!r}", field="request_id")
    if conflict := id_conflict(stored.request, request):
        raise Invalid(conflict, field="request_id")


async def _insert_pages(conn: Connection, rows: Iterator[pages.PendingPage]) -> int:
    """Stream the pages into the ledger; return how many. Memory does not grow with the run, here or in PostgreSQL.

    Each COPY is small, so that other tasks of the event loop run between two, and PostgreSQL answers soon: at the end
    of a COPY it checks every foreign key.
    """
    count = 0
    while step := list(islice(rows, PAGES_PER_COPY)):
        async with pages.pending_copy(conn) as copy:
            for row in step:
                await pages.write_pending(copy, row)
        count += len(step)
    return count


def _ledger_row(page: PlannedPage, request: SyncRequest, generation: int, series: int) -> pages.PendingPage:
    return pages.PendingPage(
        batch_id=page.batch_id,
        run_id=run_id(request.request_id),
        generation=generation,
        series=series,
        date=page.date,
        start_row=0,
        row_limit=ROW_LIMIT,
        data_state=page.report.data_state,
        credential=page.credential,
        priority=request.priority,
        round=page.round,
        conditional=not request.full,
    )
