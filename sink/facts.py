"""Rows (`gsc.facts`): writes those of a transaction, by the cheapest statement that is exact for each day."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from typing import LiteralString

from psycopg import errors

from pipeline.contracts.messages import Rows
from pipeline.postgres import Connection, queries
from sink.rows import day_text

SeriesDay = tuple[int, date]
"""The number of a series, and a day."""
Days = Mapping[SeriesDay, Sequence[Rows]]
"""The chunks to write of each day, newest generation first: of a row that occurs twice, the first counts."""

_SQL = queries("sink", "writer.sql")


async def write_rows(conn: Connection, days: Days) -> int:
    """Write the rows of days that the transaction has locked. Return the number of rows that are new or changed."""
    stored = await _days_with_rows(conn, days)
    new = {day: chunks for day, chunks in days.items() if day not in stored}
    written = await _copy_new(conn, new)
    staged = days if written is None else {day: chunks for day, chunks in days.items() if day in stored}
    return (written or 0) + await _upsert(conn, staged)


async def _days_with_rows(conn: Connection, days: Days) -> set[SeriesDay]:
    parameters = {"series": [series for series, _ in days], "dates": [day for _, day in days]}
    return {(series, day) async for series, day in await conn.execute(_SQL["days_with_rows"], parameters)}


async def _copy_new(conn: Connection, days: Days) -> int | None:
    """COPY into the table. Return the number of rows, or None when one of them is there already: nothing is written."""
    if not days:
        return 0
    try:
        async with conn.transaction():
            return await _copy(conn, _SQL["copy"], days)
    except errors.UniqueViolation:  # someone has inserted rows without the lock of the day
        return None


async def _upsert(conn: Connection, days: Days) -> int:
    """COPY into the staging table, then upsert. Return the number of rows written."""
    if not days:
        return 0
    await conn.execute(_SQL["stage"])
    await _copy(conn, _SQL["copy_staged"], days)
    row = await (await conn.execute(_SQL["upsert"])).fetchone()
    return int(row[0]) if row else 0


async def _copy(conn: Connection, statement: LiteralString, days: Days) -> int:
    async with conn.cursor() as cursor:
        async with cursor.copy(statement) as copy:
            async for text in _texts(days):
                await copy.write(text)
        return cursor.rowcount


async def _texts(days: Days) -> AsyncIterator[bytes]:
    """Yield the text of each day. The next one is formatted, in a thread, while PostgreSQL reads this one."""
    following: asyncio.Task[bytes] | None = None
    for (series, _), chunks in days.items():
        current, following = following, asyncio.create_task(asyncio.to_thread(day_text, chunks, series))
        if current:
            yield await current
    if following:
        yield await following
