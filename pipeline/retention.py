"""Retention: deletes what is older than its report keeps, months that are empty then, and superseded ledger pages."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from pipeline.catalog import Catalog
from pipeline.errors import Retryable
from pipeline.ledger import pages
from pipeline.log import logger
from pipeline.postgres import Connection, database_errors, queries
from pipeline.retry import with_retries

_SQL = queries("pipeline", "retention.sql")
SERIES_PER_STEP = 100


LOCK_ATTEMPTS = 8
"""The attempts extend over about 13 seconds, besides the waits for the lock."""
_log = logger(__name__)


@dataclass(frozen=True)
class Deleted:
    """Numbers of deleted rows, ledger pages and months (partitions). `superseded` are pages of older generations."""

    rows: int = 0
    pages: int = 0
    months: int = 0
    superseded: int = 0


def kept_since(catalog: Catalog, today: date) -> dict[str, date]:
    """Return the first day to keep, by report, for reports with a retention. Pure; `today` is the Pacific date."""
    return {
        report.name: today - timedelta(days=report.retention)
        for report in catalog.reports
        if report.retention is not None
    }


async def delete_superseded(conn: Connection, days: int) -> int:
    """Delete ledger pages whose state has been final for `days` days and whose day is complete in a newer generation.

    Returns their number. Each step is a transaction of its own. Raises Retryable.
    """
    deleted = 0
    async with database_errors():
        series = [row[0] async for row in await conn.execute(_SQL["all_series"])]
    for start in range(0, len(series), SERIES_PER_STEP):
        deleted += await pages.delete_superseded(conn, series[start : start + SERIES_PER_STEP], days)
    return deleted


async def delete_old(conn: Connection, catalog: Catalog, today: date, *, dry_run: bool = False) -> Deleted:
    """Delete what is older than its report's retention, then the empty months. `dry_run` only counts.

    A month that something reads all the time is kept until the next retention. Raises Retryable.
    """
    if dry_run:
        return Deleted(await _count_rows(conn, kept_since(catalog, today)))
    rows, expired = await _delete_rows(conn, kept_since(catalog, today))
    return Deleted(rows, expired, await _drop_empty_months(conn, before=_no_report_keeps(catalog, today)))


async def _count_rows(conn: Connection, since: Mapping[str, date]) -> int:
    count = 0
    async with database_errors():
        for report, before in since.items():
            row = await (await conn.execute(_SQL["count_rows"], await _expired(conn, report, before))).fetchone()
            count += row[0] if row else 0
    return count


async def _delete_rows(conn: Connection, since: Mapping[str, date]) -> tuple[int, int]:
    """Delete the rows of the reports before these days; return the numbers of rows and of ledger pages."""
    rows = expired_pages = 0
    async with database_errors(), conn.transaction():
        await conn.execute(_SQL["lock"])
        for report, before in since.items():
            expired = await _expired(conn, report, before)
            rows += (await conn.execute(_SQL["delete_rows"], expired)).rowcount
            expired_pages += await pages.delete_expired(conn, expired["series"], before)
            await conn.execute(_SQL["delete_days"], expired)
        await conn.execute(_SQL["delete_orphan_chunks"])
    return rows, expired_pages


async def _expired(conn: Connection, report: str, before: date) -> dict[str, Any]:
    """Return the parameters of the statements: the series of a report, and the first day that it keeps."""
    cursor = await conn.execute(_SQL["series"], {"report": report})
    return {"series": [row[0] async for row in cursor], "before": before}


def _no_report_keeps(catalog: Catalog, today: date) -> date:
    """Return the day before which no report keeps anything, so that no sink writes there."""
    since = kept_since(catalog, today)
    return min(since.values()) if len(since) == len(catalog.reports) else date.min


async def _drop_empty_months(conn: Connection, before: date) -> int:
    async with database_errors():
        months = await (await conn.execute(_SQL["months"])).fetchall()
    old = [name for name, end in months if end <= before]
    return sum([await _drop_month(conn, name) for name in old])


async def _drop_month(conn: Connection, month: str) -> bool:
    """Drop a month if it is empty; returns whether it was dropped.

    While it waits for its lock on the whole table, inserts into every month queue behind it: so it waits briefly, and
    tries again.
    """

    async def drop() -> bool:
        async with database_errors(), conn.transaction():
            await conn.execute(_SQL["lock_timeout"])
            row = await (await conn.execute(_SQL["drop_month"], {"month": month})).fetchone()
        return bool(row and row[0])

    try:
        return await with_retries(drop, attempts=LOCK_ATTEMPTS)
    except Retryable as error:
        _log.warning("month_kept", month=month, error=str(error))
        return False
