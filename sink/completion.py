"""Days (`gsc.days`): locks them, marks them complete, and deletes rows that the newest generation no longer has."""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from pipeline.contracts.messages import Batch, Result, Rows
from pipeline.ledger import pages as ledger_pages
from pipeline.ledger.pages import DayGeneration
from pipeline.log import day_fields, logger
from pipeline.metrics import counter
from pipeline.postgres import Connection, queries
from sink.rows import SeriesDay

CAP = 50_000
"""Google lists about this many rows per property, search type and day at most."""

_SQL = queries("sink", "writer.sql")
_log = logger(__name__)


async def lock_days(conn: Connection, days: Iterable[SeriesDay]) -> dict[SeriesDay, int]:
    """Lock the days until the end of the transaction. Return the complete generation of each, 0 for none.

    Days are always locked in the same order, so that two sinks cannot deadlock.
    """
    ordered = sorted(days)
    parameters = {"series": [series for series, _ in ordered], "dates": [day for _, day in ordered]}
    await conn.execute(_SQL["insert_days"], parameters)
    cursor = await conn.execute(_SQL["lock_days"], parameters)
    return {(series, day): generation or 0 async for series, day, generation in cursor}


async def complete_days(
    conn: Connection, touched: Mapping[DayGeneration, Sequence[Result]], new_days: Set[SeriesDay], delete_ratio: float
) -> tuple[int, int]:
    """Count the days, and mark those complete whose pages are all applied, unless Google has not published them yet.

    Return (days that became complete, rows deleted).

    `touched` has the pages and outcomes of this transaction by day. Of `new_days` no row can have vanished.
    `delete_ratio` is the largest share of a day's rows that may be deleted.
    """
    counts = await ledger_pages.day_counts(conn, list(touched))
    columns = _columns(counts)
    complete = [count.complete for count in counts.values()]
    values = {"rows": [count.rows for count in counts.values()], "cap": CAP}
    await conn.execute(_SQL["count_days"], {**columns, **values, "complete": complete})
    may_change = {day: any(map(_may_change, touched[day])) for day in counts}
    # A day without rows that may change is not published yet.
    ready = {day: count.rows for day, count in counts.items() if count.complete and (count.rows or not may_change[day])}
    if not ready:
        return 0, 0
    values = {"rows": list(ready.values()), "cap": CAP, "may_change": [may_change[day] for day in ready]}
    cursor = await conn.execute(_SQL["complete_days"], {**_columns(ready), **values})
    completed = [DayGeneration(*row) async for row in cursor]
    known = {day: touched[day][0].batch for day in completed if (day.series, day.date) not in new_days}
    return len(completed), await _sweep(conn, known, delete_ratio)


def _columns(days: Iterable[DayGeneration]) -> dict[str, list[Any]]:
    listed = list(days)
    return {
        "series": [day.series for day in listed],
        "dates": [day.date for day in listed],
        "generations": [day.generation for day in listed],
    }


def _may_change(result: Result) -> bool:
    incomplete = result.first_incomplete_date if isinstance(result, Rows) else None
    return incomplete is not None and incomplete <= result.batch.date


async def _sweep(conn: Connection, completed: Mapping[DayGeneration, Batch], delete_ratio: float) -> int:
    """Delete rows that the generation does not have, unless a day has implausibly many. Return the number deleted."""
    deleted = 0
    if not completed:
        return deleted
    cursor = await conn.execute(_SQL["vanished"], _columns(completed))
    for *columns, vanished, rows in await cursor.fetchall():
        day = DayGeneration(*columns)
        if vanished > delete_ratio * rows:
            _log.error("vanished_rows_kept", vanished=vanished, of=rows, **day_fields(completed[day]))
            counter("gsc_rows_total").labels("kept").inc(vanished)
            await conn.execute(_SQL["keep_vanished"], {**day._asdict(), "vanished": vanished})
        else:
            deleted += (await conn.execute(_SQL["sweep"], day._asdict())).rowcount
    return deleted
