"""Rows (`gsc.facts`): writes those of pages, by the cheapest statements that are exact for each page.

Decision record 26 says why they are exact.
"""

from collections.abc import Iterable, Sequence
from typing import Any, LiteralString, NamedTuple

from psycopg import errors

from pipeline.postgres import Connection, queries
from sink.rows import PageText, SeriesDay

_SQL = queries("sink", "writer.sql")


class Written(NamedTuple):
    """What was written."""

    rows: int
    """The rows that are new or changed."""
    new_days: frozenset[SeriesDay]
    """The days that have rows of this generation only, so that none can have vanished."""


async def write_pages(conn: Connection, pages: Sequence[PageText]) -> Written:
    """Write the rows of pages, at most one of each day. The transaction has locked the days.

    No page is older than the complete generation of its day.
    """
    if not pages:
        return Written(0, frozenset())
    cases: dict[str, list[PageText]] = {"new": [], "known": [], "late": []}
    rows = await (await conn.execute(_SQL["cases"], _columns(pages))).fetchall()
    by_day = {(series, day): case for series, day, case in rows}
    for page in pages:
        cases[by_day[page.day]].append(page)
    copied = await _copy_new(conn, cases["new"])
    if copied is None:
        cases = {**cases, "new": [], "known": cases["new"] + cases["known"]}
    changed = await _change(conn, cases["known"]) + await _upsert_late(conn, cases["late"])
    return Written((copied or 0) + changed, frozenset(page.day for page in cases["new"]))


async def _copy_new(conn: Connection, pages: Sequence[PageText]) -> int | None:
    """COPY into the table. Return the number of rows, or None when one of them is there already: nothing is written."""
    if not pages:
        return 0
    try:
        async with conn.transaction():
            return await _copy(conn, _SQL["copy"], pages)
    except errors.UniqueViolation:  # a row is on two pages, or someone has inserted it without the lock of the day
        return None


async def _change(conn: Connection, pages: Sequence[PageText]) -> int:
    """Write what differs from the rows of the days. Return the number of rows that are new or changed."""
    if not pages:
        return 0
    await _stage(conn, pages)
    cursor = await conn.execute(_SQL["change"], _columns(pages))
    return sum([count async for *_, count in cursor])


async def _upsert_late(conn: Connection, pages: Sequence[PageText]) -> int:
    """Write the rows that are newer than those of the days. Return their number."""
    if not pages:
        return 0
    await conn.execute(_SQL["stamp"], _columns(pages))
    await _stage(conn, pages)
    await conn.execute(_SQL["unlist_late"], _columns(pages))
    row = await (await conn.execute(_SQL["upsert_late"])).fetchone()
    return int(row[0]) if row else 0


async def _stage(conn: Connection, pages: Iterable[PageText]) -> None:
    await conn.execute(_SQL["stage"])
    await conn.execute(_SQL["unstage"])
    await _copy(conn, _SQL["copy_staged"], pages)


async def _copy(conn: Connection, statement: LiteralString, pages: Iterable[PageText]) -> int:
    async with conn.cursor() as cursor:
        async with cursor.copy(statement) as copy:
            for page in pages:
                await copy.write(page.text)
        return cursor.rowcount


def _columns(pages: Iterable[PageText]) -> dict[str, list[Any]]:
    series, dates, generations, numbers, _ = map(list, zip(*pages, strict=True))
    return {"series": series, "dates": dates, "generations": generations, "numbers": numbers}
