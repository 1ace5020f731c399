"""Days (`gsc.days`): locks them, marks them complete, and deletes rows that the newest generation no longer has."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.contracts.messages import Batch, Result, Rows
from pipeline.ledger import pages as ledger_pages
from pipeline.ledger.pages import DayGeneration
from pipeline.log import day_fields, logger
from pipeline.metrics import counter
from pipeline.postgres import Connection, queries
from sink.facts import SeriesDay

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
    conn: Connection, touched: Mapping[DayGeneration, Sequence[Result]], delete_ratio: float
) -> tuple[int, int]:
    """Count the days, and mark those complete whose pages are all applied, unless Google has not published them yet.

    Return (days that became complete, rows deleted).

    `touched` has the pages and outcomes of this transaction by day. `delete_ratio` is the largest share of a day's rows
    that may be deleted.
    """
    completed = deleted = 0
    for day, (rows, complete) in (await ledger_pages.day_counts(conn, list(touched))).items():
        values = {**day._asdict(), "rows": rows, "cap": CAP, "complete": complete}
        await conn.execute(_SQL["count_day"], values)
        may_change = any(map(_may_change, touched[day]))
        if not complete or (may_change and not rows):  # a day without rows may not be published yet
            continue
        if (await conn.execute(_SQL["complete_day"], {**values, "may_change": may_change})).rowcount:
            completed += 1
            deleted += await _sweep(conn, values, touched[day][0].batch, delete_ratio)
    return completed, deleted


def _may_change(result: Result) -> bool:
    incomplete = result.first_incomplete_date if isinstance(result, Rows) else None
    return incomplete is not None and incomplete <= result.batch.date


async def _sweep(conn: Connection, day: dict[str, Any], batch: Batch, delete_ratio: float) -> int:
    """Delete the day's rows of older generations, unless they are implausibly many. Return the number deleted."""
    row = await (await conn.execute(_SQL["vanished"], day)).fetchone()
    vanished, all_rows = row or (0, 0)
    if vanished > delete_ratio * all_rows:
        _log.error("vanished_rows_kept", vanished=vanished, of=all_rows, **day_fields(batch))
        counter("gsc_rows_total").labels("kept").inc(vanished)
        await conn.execute(_SQL["keep_vanished"], {**day, "vanished": vanished})
        return 0
    if not vanished:
        return 0
    return (await conn.execute(_SQL["sweep"], day)).rowcount
