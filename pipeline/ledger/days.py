"""Days of series in the ledger (`gsc.days`), for those who look.

Every function raises Retryable while PostgreSQL cannot be reached, and Fatal for what trying again cannot change.
"""

from datetime import date
from typing import Any, NamedTuple

from psycopg.rows import dict_row

from pipeline.contracts.resources import DayRecord
from pipeline.contracts.text import to_second
from pipeline.postgres import Connection, database_errors, queries

_SQL = queries("pipeline.ledger", "days.sql")


async def of_property(
    conn: Connection, property_: str, period: tuple[date, date], report: str | None = None
) -> list[DayRecord]:
    """Return the days of a property from the first to the last, of all reports or one, the newest first."""
    parameters = {"property": property_, "start": period[0], "end": period[1], "report": report}
    async with database_errors(), conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SQL["of_property"], parameters)
        return [_record(row) async for row in cursor]


def _record(row: dict[str, Any]) -> DayRecord:
    return DayRecord(**{**row, "completed_at": row["completed_at"] and to_second(row["completed_at"])})


class DayCounts(NamedTuple):
    """The numbers of days of all series, by kind. docs/states.md says what the kinds are."""

    complete: int = 0
    pending: int = 0
    truncated: int = 0
    may_change: int = 0
    vanished_kept: int = 0


class NewestAges(NamedTuple):
    """Days since the newest complete day, of the series furthest behind and of the median; None without such a day."""

    last: int | None = None
    middle: int | None = None


async def newest_complete(conn: Connection) -> dict[str, date | None]:
    """Return the newest complete day of each property: of its series that is furthest behind, None if one has none."""
    async with database_errors():
        return dict(await (await conn.execute(_SQL["newest_complete"])).fetchall())


async def count(conn: Connection) -> DayCounts:
    """Return the numbers of days."""
    async with database_errors():
        return DayCounts(*(await (await conn.execute(_SQL["count"])).fetchone() or ()))


async def newest_ages(conn: Connection, today: date) -> NewestAges:
    """Return how old the newest complete days are. `today` is the Pacific date."""
    async with database_errors():
        return NewestAges(*(await (await conn.execute(_SQL["newest_days"], {"today": today})).fetchone() or ()))
