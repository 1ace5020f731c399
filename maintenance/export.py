"""Complete days as Parquet files: one for each report and month, written again only when its days have changed."""

from calendar import monthrange
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

from pipeline.postgres import Connection, database_errors, queries
from pipeline.report import Report
from pipeline.report_views import COMMENTS, columns_of, of_report

_SQL = queries("maintenance", "export.sql")
_VERSION = b"gsc_stream.version"
_ROWS_AT_ONCE = 50_000
_FLOATS = frozenset({"clicks", "impressions", "ctr", "position"})


@dataclass(frozen=True)
class Month:
    """The complete days of a report in a month, as far as the export covers it."""

    report: Report
    first: date
    start: date
    end: date
    version: str
    """Equal for two exports of the same rows."""

    def path(self, folder: Path) -> Path:
        """Return the month's file in the layout that DuckDB, Spark and others read as partitions."""
        return folder / self.report.name / f"month={self.first:%Y-%m}" / "data.parquet"


async def read_months(conn: Connection, reports: Iterable[Report], start: date, end: date) -> list[Month]:
    """Return the months with complete days from `start` to `end`, by report. Raises Retryable."""
    months = []
    async with database_errors():
        for report in reports:
            statement = _months(report)
            rows = await (await conn.execute(statement, {"start": start, "end": end})).fetchall()
            for first, days, digest in rows:
                last = first.replace(day=monthrange(first.year, first.month)[1])
                version = f"{days} days {digest} {','.join(columns_of(report))}"
                months.append(Month(report, first, max(start, first), min(end, last), version))
    return months


def is_exported(month: Month, folder: Path) -> bool:
    """Return whether the folder has the month in this version."""
    try:
        metadata = pq.read_schema(month.path(folder)).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return False
    return bool(metadata.get(_VERSION) == month.version.encode())


async def export_month(conn: Connection, month: Month, folder: Path) -> int:
    """Write the month's file, and return its number of rows. Raises Retryable or OSError.

    The file appears when it is complete: an export that is interrupted leaves an older one as it was.
    """
    path = month.path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    count = 0
    with pq.ParquetWriter(unfinished, _schema(month), compression="zstd") as writer:
        async for rows in _read_rows(conn, month):
            columns = list(zip(*rows, strict=True))
            writer.write_batch(
                pa.record_batch([*map(pa.array, columns)], names=writer.schema.names).cast(writer.schema)
            )
            count += len(rows)
    unfinished.replace(path)
    return count


async def _read_rows(conn: Connection, month: Month) -> AsyncIterator[list[tuple[Any, ...]]]:
    parameters = {"start": month.start, "end": month.end}
    async with database_errors(), conn.transaction(), conn.cursor(name="export") as cursor:
        await cursor.execute(_rows(month.report), parameters)
        while rows := await cursor.fetchmany(_ROWS_AT_ONCE):
            yield rows


def _schema(month: Month) -> pa.Schema:
    return pa.schema(
        [pa.field(name, _type(name), metadata={"comment": COMMENTS[name]}) for name in columns_of(month.report)],
        metadata={_VERSION: month.version.encode()},
    )


def _type(column: str) -> pa.DataType:
    if column == "date":
        return pa.date32()
    return pa.float64() if column in _FLOATS else pa.string()


def _months(report: Report) -> sql.Composed:
    return sql.SQL(_SQL["months"]).format(series=of_report(report))


def _rows(report: Report) -> sql.Composed:
    columns = sql.SQL(", ").join(sql.SQL(expression) for expression in columns_of(report).values())
    return sql.SQL(_SQL["rows"]).format(series=of_report(report), columns=columns)
