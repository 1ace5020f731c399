"""A ledger with runs and pages, on a real PostgreSQL."""

from pipeline.contracts.identity import Page, batch_id
from pipeline.contracts.messages import Priority, SearchType
from pipeline.contracts.records import PendingGroup, SeriesKey
from pipeline.ledger import pages, runs
from pipeline.postgres import Connection
from pipeline.schema import migrate
from support.examples import DAY


async def create_ledger(conn: Connection) -> None:
    """Create the schema, and runs: 1 and 2 are backfills, 3 is a daily one."""
    await migrate(conn)
    for generation, priority in ((1, "backfill"), (2, "backfill"), (3, "daily")):
        await conn.execute(
            "insert into gsc.runs (run_id, request_id, generation, priority, request, accepted_at, planned_at)"
            " values (%s, %s, %s, %s, '{}', now(), now())",
            (f"run-{generation}", f"request-{generation}", generation, priority),
        )


def group(credential: str, generation: int) -> PendingGroup:
    priority: Priority = "daily" if generation == 3 else "backfill"
    return PendingGroup(credential, priority, generation, f"run-{generation}")


async def add_pages(
    conn: Connection,
    of: PendingGroup,
    count: int,
    *,
    site: str = "sc-domain:a.example",
    search_type: SearchType = "web",
    conditional: bool = True,
) -> None:
    """Add pending pages of a property to a group."""
    series = await runs.series_number(conn, SeriesKey(site, "by_date", search_type, ("date",)))
    async with pages.pending_copy(conn) as copy:
        for number in range(count):
            start = 25_000 * number
            page = batch_id(Page(site, "by_date", search_type, DAY, start, of.generation))
            row = (page, of.run_id, of.generation, series, DAY, start, 25_000, "final", of.credential, of.priority)
            await pages.write_pending(copy, pages.PendingPage(*row, number, conditional))
