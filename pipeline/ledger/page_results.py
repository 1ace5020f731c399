"""Pages (`gsc.pages`) in the ledger: what the sink records of results, and what it asks about them.

Every function raises Retryable while PostgreSQL cannot be reached, and Fatal for what trying again cannot change.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from pipeline.contracts.identity import batch_id, page_of
from pipeline.contracts.messages import Batch, PageOutcome, Rows, Unchanged
from pipeline.contracts.records import Record
from pipeline.ledger.pages import State
from pipeline.postgres import Connection, database_errors, queries

_SQL = queries("pipeline.ledger", "pages.sql")


class DayGeneration(NamedTuple):
    """A day of a series, in one generation."""

    series: int
    date: date
    generation: int


class DayCount(NamedTuple):
    """The rows of the applied pages of a day in one generation, and whether every page is applied.

    `pages` counts all of its pages; `unchanged` is whether they are as many as the day had, and each is unchanged.
    """

    rows: int
    complete: bool
    pages: int
    unchanged: bool


class AppliedPage(NamedTuple):
    """A page whose rows are stored: its series, its result (the last chunk of rows), and the record of that.

    `current` is false when the table has newer rows, so that these were not written.
    """

    series: int
    result: Rows | Unchanged
    record: Record
    current: bool = True


async def apply(conn: Connection, pages: Sequence[AppliedPage]) -> None:
    """Mark pages as applied. The next page of each full one becomes known, too."""
    following = [_following(page) for page in pages if page.result.next_start_row is not None]
    async with database_errors():
        await conn.execute(_SQL["apply"], _by_column([_identity(p.result.batch, p.series) | _result(p) for p in pages]))
        if following:
            await conn.execute(_SQL["add_next"], _by_column(following))


def _result(page: AppliedPage) -> dict[str, Any]:
    """The columns that say what was fetched."""
    return {
        "rows": page.result.page_rows,
        "next_start_row": page.result.next_start_row,
        "digest": page.result.digest if page.current else None,
        "unchanged": isinstance(page.result, Unchanged),
        "fetch_id": page.result.fetch_id,
        "fetched_at": page.result.fetched_at,
        "partition": page.record.partition,
        "offset": page.record.offset,
    }


def _following(page: AppliedPage) -> dict[str, Any]:
    """The identity of the page after a full one."""
    batch, start_row = page.result.batch, page.result.next_start_row or 0
    changed = {"batch_id": batch_id(page_of(batch)._replace(start_row=start_row)), "start_row": start_row}
    return _identity(batch, page.series) | changed | {"after": batch.batch_id}


def day_columns(days: Iterable[DayGeneration]) -> dict[str, list[Any]]:
    """Return the parameters of a statement about these days."""
    listed = list(days)
    return {
        "series": [day.series for day in listed],
        "dates": [day.date for day in listed],
        "generations": [day.generation for day in listed],
    }


def _by_column(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


async def record_outcome(conn: Connection, series: int, outcome: PageOutcome) -> None:
    """Mark a page as dead, or as pending again when it was deferred. An applied or cancelled page stays as it is."""
    statement = "mark_dead" if outcome.state == "dead" else "mark_deferred"
    why = {"at": outcome.at, "reason": outcome.reason, "detail": outcome.detail.replace("\x00", "")}
    async with database_errors():
        await conn.execute(_SQL[statement], _identity(outcome.batch, series) | why)


async def refetch(conn: Connection, series: int, batch: Batch) -> None:
    """Make a page pending again, to be fetched without a base. A finished page stays as it is."""
    async with database_errors():
        await conn.execute(_SQL["refetch"], _identity(batch, series))


async def reopen_unchanged(conn: Connection, days: Sequence[DayGeneration]) -> None:
    """Make the unchanged pages of these days pending again, to be fetched without a base."""
    async with database_errors():
        await conn.execute(_SQL["reopen_unchanged"], day_columns(days))


async def written_by_others(conn: Connection, days: Sequence[DayGeneration]) -> set[DayGeneration]:
    """Those of the days that have rows of a generation that is neither the complete one, nor older, nor this one."""
    async with database_errors():
        cursor = await conn.execute(_SQL["written_by_others"], day_columns(days))
        return {DayGeneration(*row) async for row in cursor}


async def applied_or_cancelled(conn: Connection, batch_ids: Sequence[str]) -> dict[str, State]:
    """Those of the pages whose rows are stored already or whose run was cancelled, with their state."""
    async with database_errors():
        cursor = await conn.execute(_SQL["applied_or_cancelled"], {"batches": list(batch_ids)})
        return {row[0].hex: row[1] async for row in cursor}


async def day_counts(conn: Connection, days: Sequence[DayGeneration]) -> dict[DayGeneration, DayCount]:
    """The rows of the applied pages of each day, and whether all its pages are applied."""
    async with database_errors():
        cursor = await conn.execute(_SQL["day_counts"], day_columns(days))
        return {DayGeneration(*row[:3]): DayCount(*row[3:]) async for row in cursor}


def _identity(batch: Batch, series: int) -> dict[str, Any]:
    """The columns that say which page it is."""
    return {
        "batch_id": batch.batch_id,
        "run_id": batch.run_id,
        "generation": batch.generation,
        "series": series,
        "date": batch.date,
        "start_row": batch.start_row,
        "row_limit": batch.row_limit,
        "data_state": batch.data_state,
        "credential": batch.credential,
        "priority": batch.priority,
    }
