"""The planner: takes requests in, and publishes what they make owed."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pipeline.catalog import Catalog
from pipeline.clock import now, pacific_date
from pipeline.contracts import codec
from pipeline.contracts.identity import run_id
from pipeline.contracts.messages import SyncRequest
from pipeline.contracts.records import Record
from pipeline.dead_letter_limit import DeadLetterLimit
from pipeline.dead_letters import DeadLetter, DeadLetterPublisher, publish_dead_letter
from pipeline.errors import Invalid, Retryable
from pipeline.ledger import pages, runs
from pipeline.log import logger
from pipeline.postgres import Connection, database_errors
from producer.outbox import Outbox
from producer.planner import ROW_LIMIT, plan
from producer.sync_request import same_request, validate

SERVICE: Final = "producer"
RETRY_S = 1.0

_log = logger(__name__)
Opening = Callable[[], AbstractAsyncContextManager[Connection]]


@dataclass(frozen=True)
class Ports:
    """What the intake talks to."""

    prefix: str
    publisher: DeadLetterPublisher
    outbox: Outbox
    open_: Opening


class Intake:
    """Writes requests to the ledger. Nothing is skipped: while a server is away, the request waits."""

    def __init__(self, catalog: Catalog, ports: Ports, bound: DeadLetterLimit) -> None:
        self._catalog = catalog
        self._ports = ports
        self._bound = bound
        self.failure: Exception | None = None
        """Why no more requests are taken in. The stream processor would swallow an exception."""

    async def take(self, record: Record) -> None:
        """Plan a request, or dead-letter what cannot be planned. Returns when either is safe, else never."""
        while True:
            try:
                return await self._take(record)
            except Retryable as error:
                _log.warning("intake_waits", error=str(error), retry_s=RETRY_S)
                await asyncio.sleep(RETRY_S)
            except Exception as error:  # whatever it is: the stream processor would go on and commit the request
                self.failure = error
                await asyncio.Event().wait()  # until the process ends; the request is taken again then

    async def _take(self, record: Record) -> None:
        try:
            request = codec.decode(SyncRequest, record.value)
            if problems := validate(request, self._catalog, pacific_date(now())):
                raise Invalid("; ".join(map(str, problems)))
            async with self._ports.open_() as conn:
                planned = await plan_run(conn, request, self._catalog, now())
        except Invalid as error:
            letter = DeadLetter(record, SERVICE, "invalid_request", str(error))
            await publish_dead_letter(self._ports.publisher, self._ports.prefix, letter)
            self._bound.dead(record.partition, str(error))
            return
        self._bound.done(record.partition)
        _log.info("planned", run_id=planned.run_id, request_id=request.request_id, pages=planned.pages)
        self._ports.outbox.planned()


@dataclass(frozen=True)
class Planned:
    """What became of a request; `pages` is 0 when the run was known."""

    run_id: str
    pages: int


async def plan_run(conn: Connection, request: SyncRequest, catalog: Catalog, now: datetime) -> Planned:
    """Write the run and its first pages in one transaction; the same request again changes nothing.

    Raises Invalid when the request id is taken by another request, Retryable when the database is away.
    """
    run = run_id(request.request_id)
    async with database_errors(), conn.transaction():
        generation = await runs.create_run(conn, request, now)
        if generation is None:
            await _check_same_request(conn, request)
            return Planned(run, 0)
        return Planned(run, await _insert_pages(conn, request, catalog, generation))


async def _check_same_request(conn: Connection, request: SyncRequest) -> None:
    run = run_id(request.request_id)
    if not await runs.run_exists(conn, run):
        raise Invalid(f"the id or the generation of {request.request_id!r} is another run's", field="request_id")
    before = await runs.request_of(conn, run)
    if before is not None and not same_request(before, request):
        raise Invalid(f"{request.request_id!r} was given to another request before", field="request_id")


async def _insert_pages(conn: Connection, request: SyncRequest, catalog: Catalog, generation: int) -> int:
    run = run_id(request.request_id)
    planned = list(plan(request, catalog, generation, pacific_date(request.requested_at)))
    keys = {
        runs.SeriesKey(page.property, page.report.name, page.search_type, page.report.dimensions) for page in planned
    }
    numbers = {key: await runs.series_number(conn, key) for key in sorted(keys)}
    async with pages.inserting_pending(conn) as copy:
        for page in planned:
            report = page.report
            series = numbers[runs.SeriesKey(page.property, report.name, page.search_type, report.dimensions)]
            row = (page.batch_id, run, generation, series, page.date, 0, ROW_LIMIT, report.data_state, page.credential)
            await pages.write_pending(copy, pages.PendingPage(*row, request.priority, page.round))
    return len(planned)
