"""Retention: deletes what is older than its report keeps, months that are empty then, and superseded ledger pages."""

from dataclasses import dataclass
from datetime import date, timedelta

from pipeline.catalog import Catalog
from pipeline.ledger import pages
from pipeline.postgres import Connection, database_errors, queries

_SQL = queries("pipeline", "retention.sql")
SERIES_PER_STEP = 100


@dataclass
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
    """Delete ledger pages that were finished `days` ago and whose day is complete in a newer generation.

    Returns their number. Each step is a transaction of its own. Raises Retryable.
    """
    deleted = 0
    async with database_errors():
        series = [row[0] async for row in await conn.execute(_SQL["all_series"])]
    for start in range(0, len(series), SERIES_PER_STEP):
        deleted += await pages.delete_superseded(conn, series[start : start + SERIES_PER_STEP], days)
    return deleted


async def delete_old(conn: Connection, catalog: Catalog, today: date, *, dry_run: bool = False) -> Deleted:
    """Delete what is older than its report's retention, in one transaction. `dry_run` only counts. Raises Retryable."""
    deleted = Deleted()
    async with database_errors(), conn.transaction():
        await conn.execute(_SQL["lock"])
        for report, since in kept_since(catalog, today).items():
            series = [row[0] async for row in await conn.execute(_SQL["series"], {"report": report})]
            parameters = {"series": series, "before": since}
            if dry_run:
                row = await (await conn.execute(_SQL["count_rows"], parameters)).fetchone()
                deleted.rows += row[0] if row else 0
                continue
            deleted.rows += (await conn.execute(_SQL["delete_rows"], parameters)).rowcount
            deleted.pages += await pages.delete_settled(conn, series, since)
            await conn.execute(_SQL["delete_days"], parameters)
        if not dry_run:
            await conn.execute(_SQL["delete_orphan_chunks"])
            deleted.months = await _drop_empty_months(conn, before=_no_report_keeps(catalog, today))
    return deleted


def _no_report_keeps(catalog: Catalog, today: date) -> date:
    """Return the day before which no report keeps anything, so that no sink writes there."""
    since = kept_since(catalog, today)
    return min(since.values()) if len(since) == len(catalog.reports) else date.min


async def _drop_empty_months(conn: Connection, before: date) -> int:
    dropped = 0
    months = await (await conn.execute(_SQL["months"])).fetchall()
    for name, end in months:
        if end <= before:
            row = await (await conn.execute(_SQL["drop_month"], {"month": name})).fetchone()
            dropped += bool(row and row[0])
    return dropped
