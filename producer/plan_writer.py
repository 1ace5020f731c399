"""Plans accepted runs, in the leader: writes their pages to the ledger, a chunk of one run after a chunk of another.

A chunk is a transaction, and moves the cursor of its run: whatever ends the process, planning goes on behind the last
chunk. The outbox sees no page of a run before the last chunk is written.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from pipeline.catalog import Catalog
from pipeline.contracts.messages import PRIORITIES
from pipeline.contracts.records import PlanCursor
from pipeline.errors import Retryable
from pipeline.ledger import pages, runs
from pipeline.ledger.runs import UnplannedRun
from pipeline.log import logger
from pipeline.metrics import clear_gauges, gauge
from pipeline.pacific import pacific_date
from pipeline.postgres import Connect, Connection, database_errors
from pipeline.process import event_or_timeout
from producer.planner import ROW_LIMIT, PlannedPage, next_chunk, plan

PAGES_PER_CHUNK = 1000
"""Few enough that a daily request, which is planned next, waits for less than a second, and that the memory of producer
and PostgreSQL does not grow with the run: at the end of a COPY, PostgreSQL checks every foreign key."""
IDLE_S = 1.0
RETRY_S = 1.0
_OLDEST = "gsc_oldest_unplanned_seconds"

_log = logger(__name__)


class TenantRotation:
    """Whose run gets the next chunk: daily runs first, and tenants take turns. Pure.

    The set of credentials of a run is its tenant, whose runs are planned in the order in which they were accepted.
    """

    def __init__(self) -> None:
        self._last: dict[frozenset[str], int] = {}
        self._turn = 0

    def next(self, waiting: Sequence[UnplannedRun]) -> UnplannedRun:
        """Return one of the runs, of which there must be one at least, oldest first. It counts as its tenant's turn."""
        run = min(waiting, key=lambda run: (PRIORITIES.index(run.priority), self._last.get(run.credentials, 0)))
        self._turn += 1
        self._last[run.credentials] = self._turn
        return run


class PlanWriter:
    """Plans accepted runs while this process leads."""

    def __init__(self, connect: Connect, catalog: Callable[[], Catalog]) -> None:
        self._connect = connect
        self._catalog = catalog
        self._rotation = TenantRotation()
        self._accepted = asyncio.Event()

    def notify(self) -> None:
        """Look for accepted runs now."""
        self._accepted.set()

    async def run(self, stop: asyncio.Event, _: Connection) -> None:
        """Plan until `stop` or until the task is cancelled. Reconnects while PostgreSQL is away. Raises Fatal."""
        try:
            while not stop.is_set():
                try:
                    async with self._connect() as conn:
                        await self._plan_until(stop, conn)
                except Retryable as error:
                    clear_gauges([_OLDEST])
                    _log.warning("planning_waits", error=str(error), retry_s=RETRY_S)
                    await event_or_timeout(stop, RETRY_S)
        finally:
            clear_gauges([_OLDEST])

    async def _plan_until(self, stop: asyncio.Event, conn: Connection) -> None:
        while not stop.is_set():
            self._accepted.clear()  # before the look: what is accepted during it starts the next one
            waiting = await runs.unplanned(conn)
            export_unplanned(waiting)
            if waiting:
                await write_chunk(conn, self._rotation.next(waiting), self._catalog())
            else:
                await event_or_timeout(self._accepted, IDLE_S)


async def write_chunk(conn: Connection, run: UnplannedRun, catalog: Catalog) -> None:
    """Write the next pages of a run, if no other process has, and mark it planned when they are its last ones.

    With a catalog that has changed since the last chunk, the days that follow are planned by the new one.
    Raises Retryable.
    """
    today = pacific_date(run.request.requested_at)
    chunk = next_chunk(plan(run.request, catalog, run.generation, today, run.cursor), PAGES_PER_CHUNK)
    ended = len(chunk) < PAGES_PER_CHUNK
    planned = len(chunk) + (run.cursor.pages if run.cursor else 0)
    numbers = await runs.series_numbers(conn, {page.series() for page in chunk})
    async with database_errors(), conn.transaction():
        if not await runs.advance_plan(conn, run, _cursor_after(chunk, planned) or run.cursor, ended=ended):
            return
        async with pages.pending_copy(conn) as copy:
            for page in chunk:
                await pages.write_pending(copy, _ledger_row(page, run, numbers[page.series()]))
    if ended:
        _log.info("run_planned", run_id=run.run_id, request_id=run.request.request_id, pages=planned)


def _cursor_after(chunk: Sequence[PlannedPage], planned: int) -> PlanCursor | None:
    if not chunk:
        return None
    return PlanCursor(chunk[-1].property, chunk[-1].date, chunk[-1].round, planned)


def _ledger_row(page: PlannedPage, run: UnplannedRun, series: int) -> pages.PendingPage:
    return pages.PendingPage(
        batch_id=page.batch_id,
        run_id=run.run_id,
        generation=run.generation,
        series=series,
        date=page.date,
        start_row=0,
        row_limit=page.report.row_limit or ROW_LIMIT,
        data_state=page.report.data_state,
        credential=page.credential,
        priority=run.priority,
        round=page.round,
        conditional=not run.request.full,
    )


def export_unplanned(waiting: Iterable[UnplannedRun]) -> None:
    """Set the age of the oldest run of each priority that is not planned, 0 without one."""
    oldest = dict.fromkeys(PRIORITIES, 0.0)
    for run in waiting:
        oldest[run.priority] = max(run.age_s, oldest[run.priority])
    for priority, age_s in oldest.items():
        gauge(_OLDEST).labels(priority).set(age_s)
