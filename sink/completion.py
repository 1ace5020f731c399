"""Days (`gsc.days`): locks them, marks them complete, and deletes rows that the newest generation no longer has."""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import NamedTuple

from pipeline.contracts.messages import MAX_BASE_PAGES, Batch, PageOutcome, Result
from pipeline.ledger import page_results
from pipeline.ledger.page_results import DayCount, DayGeneration, day_columns
from pipeline.log import day_fields, logger
from pipeline.metrics import counter
from pipeline.postgres import Connection, queries
from sink.rows import SeriesDay

CAP = 50_000
"""Google lists about this many rows per property, search type and day at most."""

_SQL = queries("sink", "writer.sql")
_log = logger(__name__)


class StoredDay(NamedTuple):
    """A day as the table has it."""

    complete: int
    """The complete generation; 0 for none."""
    confirmed: int
    """The newest generation that found a page unchanged; 0 for none."""
    digests: tuple[str, ...]
    """Of the pages of the complete generation, if the table has no other rows."""
    repeated: bool = False
    """Whether a row is on two of these pages. The table has it on one: if only that page changed, a sweep would delete
    the row, which the other page still has."""

    @property
    def newest(self) -> int:
        """The generation whose rows the table has. Older ones are not written."""
        return max(self.complete, self.confirmed)


async def lock_days(conn: Connection, days: Iterable[SeriesDay]) -> dict[SeriesDay, StoredDay]:
    """Lock the days until the end of the transaction, and return them.

    Days are always locked in the same order, so that two sinks cannot deadlock.
    """
    ordered = sorted(days)
    parameters = {"series": [series for series, _ in ordered], "dates": [day for _, day in ordered]}
    await conn.execute(_SQL["insert_days"], parameters)
    cursor = await conn.execute(_SQL["lock_days"], parameters)
    return {
        (series, day): StoredDay(complete or 0, confirmed or 0, tuple(digest.hex for digest in digests or ()), repeated)
        async for series, day, complete, confirmed, digests, repeated in cursor
    }


async def confirm_days(conn: Connection, days: Iterable[DayGeneration]) -> None:
    """Record that these generations have found a page of the day unchanged: older ones write no rows any more."""
    await conn.execute(_SQL["confirm_days"], day_columns(days))


async def complete_days(
    conn: Connection, touched: Mapping[DayGeneration, Sequence[Result]], new_days: Set[SeriesDay], delete_ratio: float
) -> tuple[int, int]:
    """Count the days, and mark those complete whose pages are all applied, unless Google has not published them yet.

    Return (days that became complete, rows deleted).

    `touched` has the pages and outcomes of this transaction by day. Of `new_days` no row can have vanished.
    `delete_ratio` is the largest share of a day's rows that may be deleted.
    """
    counts = await page_results.day_counts(conn, list(touched))
    columns = day_columns(counts)
    complete = [count.complete for count in counts.values()]
    values = {"rows": [count.rows for count in counts.values()], "cap": CAP}
    await conn.execute(_SQL["count_days"], {**columns, **values, "complete": complete})
    may_change = {day: any(map(_may_change, touched[day])) for day in counts}
    # A day without rows that may change is not published yet.
    ready = {day: count.rows for day, count in counts.items() if count.complete and (count.rows or not may_change[day])}
    if not ready:
        return 0, 0
    values = {
        "rows": list(ready.values()),
        "may_change": [may_change[day] for day in ready],
        "unchanged": [counts[day].unchanged for day in ready],
    }
    limits = {"cap": CAP, "max_pages": MAX_BASE_PAGES}
    cursor = await conn.execute(_SQL["complete_days"], {**day_columns(ready), **values, **limits})
    completed = [DayGeneration(*row) async for row in cursor]
    # In a new day no row has vanished, but one may be on two of its pages.
    looked_at = [day for day in completed if (day.series, day.date) not in new_days or counts[day].pages > 1]
    changed = [day for day in looked_at if not counts[day].unchanged]
    return len(completed), await _sweep(
        conn, {day: (counts[day], touched[day][0].batch) for day in changed}, delete_ratio
    )


def _may_change(result: Result) -> bool:
    incomplete = None if isinstance(result, PageOutcome) else result.first_incomplete_date
    return incomplete is not None and incomplete <= result.batch.date


async def _sweep(conn: Connection, changed: Mapping[DayGeneration, tuple[DayCount, Batch]], delete_ratio: float) -> int:
    """Delete rows that the generation does not have, unless a day has implausibly many. Return the number deleted."""
    if not changed:
        return 0
    deleted = 0
    cursor = await conn.execute(_SQL["vanished"], day_columns(changed))
    for *columns, vanished, rows in await cursor.fetchall():
        day = DayGeneration(*columns)
        count, batch = changed[day]
        if vanished > delete_ratio * rows:
            await _keep(conn, day, vanished, rows, batch)
        elif vanished:
            deleted += (await conn.execute(_SQL["sweep"], day._asdict())).rowcount
        if count.pages > 1 and rows - vanished != count.rows:
            await conn.execute(_SQL["mark_repeated"], day._asdict())
    return deleted


async def _keep(conn: Connection, day: DayGeneration, vanished: int, rows: int, batch: Batch) -> None:
    _log.error("vanished_rows_kept", vanished=vanished, rows=rows, **day_fields(batch))
    counter("gsc_rows_total").labels("kept").inc(vanished)
    await conn.execute(_SQL["keep_vanished"], {**day._asdict(), "vanished": vanished})
