"""Runs (`gsc.runs`) and series (`gsc.series`) in the ledger.

Every function raises Retryable while PostgreSQL cannot be reached, and Fatal for what trying again cannot change.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from psycopg.rows import dict_row

from pipeline.contracts import codec
from pipeline.contracts.identity import run_id
from pipeline.contracts.messages import Batch, Priority, SyncRequest
from pipeline.contracts.records import PlanCursor, SeriesKey
from pipeline.contracts.resources import RunProgress, RunState, finished_count
from pipeline.contracts.text import to_second
from pipeline.errors import Invalid
from pipeline.ledger import pages
from pipeline.postgres import Connection, database_errors, queries

_SQL = queries("pipeline.ledger", "runs.sql")


class RunKey(NamedTuple):
    """A run and its generation, which it got when its request was accepted."""

    run_id: str
    generation: int


def run_of(batch: Batch) -> RunKey:
    """The run that a batch belongs to."""
    return RunKey(batch.run_id, batch.generation)


def series_of(batch: Batch) -> SeriesKey:
    """The series that a batch belongs to."""
    return SeriesKey(batch.property, batch.report, batch.search_type, batch.dimensions, batch.selection)


class UnplannedRun(NamedTuple):
    """A run of which not every page is planned yet. `age_s` is the time since its request was accepted."""

    run_id: str
    generation: int
    priority: Priority
    credentials: frozenset[str]
    request: SyncRequest
    cursor: PlanCursor | None
    age_s: float


async def create_run(conn: Connection, request: SyncRequest, credentials: Iterable[str], now: datetime) -> bool:
    """Insert the run of a request, not planned; returns False when the run or its generation exists already."""
    parameters = {
        "run_id": run_id(request.request_id),
        "request_id": request.request_id,
        "milliseconds": round(now.timestamp() * 1000),
        "priority": request.priority,
        "request": codec.encode(request).decode(),
        "credentials": sorted(credentials),
        "now": now,
    }
    async with database_errors():
        return (await conn.execute(_SQL["create_run"], parameters)).rowcount == 1


async def unplanned(conn: Connection) -> list[UnplannedRun]:
    """Every run of which not every page is planned yet, the oldest first."""
    async with database_errors():
        rows = await (await conn.execute(_SQL["unplanned"])).fetchall()
    return [msgspec.convert(row, UnplannedRun) for row in rows]


async def advance_plan(conn: Connection, run: UnplannedRun, cursor: PlanCursor | None, *, ended: bool) -> bool:
    """Move the cursor of a run, and lock it until the end of the transaction.

    Returns False when the run was cancelled, or when its cursor is not where this process has seen it.
    """
    parameters = {
        "run_id": run.run_id,
        "before": msgspec.json.encode(run.cursor).decode() if run.cursor else None,
        "cursor": msgspec.json.encode(cursor).decode() if cursor else None,
        "ended": ended,
    }
    async with database_errors():
        return (await conn.execute(_SQL["advance_plan"], parameters)).rowcount == 1


async def create_replay_run(conn: Connection, run: str, now: datetime) -> RunKey:
    """Insert a run for a replay that overwrites; its generation is the newest of all."""
    parameters = {"run_id": run, "milliseconds": round(now.timestamp() * 1000), "now": now}
    async with database_errors():
        row = await (await conn.execute(_SQL["create_replay_run"], parameters)).fetchone()
    return RunKey(run, row[0] if row else 0)


async def restore_runs(conn: Connection, batches: Iterable[Batch], now: datetime) -> None:
    """Insert runs that the ledger lacks, from their results: a replay into an empty database needs no plan."""
    runs = sorted({(batch.run_id, batch.generation, batch.priority) for batch in batches})
    if not runs:
        return
    columns = dict(zip(("runs", "generations", "priorities"), map(list, zip(*runs, strict=True)), strict=True))
    async with database_errors():
        await conn.execute(_SQL["restore_runs"], {**columns, "now": now})


class StoredRun(NamedTuple):
    """A run of the ledger. `request` is None for a run that was restored from its results."""

    request: SyncRequest | None


async def stored_run(conn: Connection, run: str) -> StoredRun | None:
    """Return a run of the ledger, or None when there is no such run."""
    async with database_errors():
        row = await (await conn.execute(_SQL["run"], {"run_id": run})).fetchone()
    if row is None:
        return None
    return StoredRun(None if row[1] else msgspec.convert(row[0], SyncRequest))


async def request_of(conn: Connection, run: str) -> SyncRequest | None:
    """The request that a run was planned from; None for an unknown run, and for one restored from its results."""
    stored = await stored_run(conn, run)
    return stored.request if stored else None


async def unknown_runs(conn: Connection, runs: Sequence[RunKey]) -> set[RunKey]:
    """Those of the runs that the ledger does not have with this generation."""
    async with database_errors():
        cursor = await conn.execute(_SQL["known_runs"], {"runs": sorted({run for run, _ in runs})})
        return set(runs) - {RunKey(*row) async for row in cursor}


class Cancelled(NamedTuple):
    """Numbers of cancelled pages: by this command, and by earlier ones; and whether the run was not planned yet."""

    pages: int
    before: int
    unplanned: bool


async def can_be_cancelled(conn: Connection, run: str) -> bool:
    """Whether the ledger has a run that is unfinished, or was cancelled."""
    found = await progress(conn, run)
    return found is not None and (
        found.planned_at is None or found.finished < found.total or "cancelled" in found.pages
    )


async def cancel(conn: Connection, run: str) -> Cancelled:
    """Cancel a run and its unfinished pages; returns the number of pages. A finished run stays as it is.

    Raises Invalid for a run that the ledger does not have.
    """
    async with database_errors(), conn.transaction():
        found = await progress(conn, run)
        if found is None:
            raise Invalid(f"no run {run!r} in the ledger", field="RUN_ID")
        before = found.pages.get("cancelled", 0)
        unplanned = found.planned_at is None
        if found.finished == found.total and not unplanned:
            return Cancelled(0, before, unplanned=False)
        await conn.execute(_SQL["cancel_run"], {"run_id": run})
        return Cancelled(await pages.cancel(conn, run), before, unplanned)


async def progress(conn: Connection, run: str) -> RunProgress | None:
    """Return how far a run is; None when there is no such run."""
    return next(iter(await _progress(conn, run, 1)), None)


async def newest(conn: Connection, limit: int) -> list[RunProgress]:
    """Return how far the newest runs are, the newest first."""
    return await _progress(conn, None, limit)


async def _progress(conn: Connection, run: str | None, limit: int) -> list[RunProgress]:
    async with database_errors(), conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SQL["progress"], {"run_id": run, "limit": limit})
        return [_run_progress(row) async for row in cursor]


def _run_progress(row: dict[str, Any]) -> RunProgress:
    times = {name: row[name] and to_second(row[name]) for name in ("accepted_at", "planned_at", "cancelled_at")}
    counts = row["pages"] or {}
    return RunProgress(**{**row, **times, "pages": counts, "state": _state(row, counts)})


def _state(row: dict[str, Any], counts: dict[str, int]) -> RunState:
    if row["cancelled_at"]:
        return "cancelled"
    if row["planned_at"] is None:
        return "planning"
    return "finished" if finished_count(counts) == sum(counts.values()) else "running"


async def has_unfinished_pages(conn: Connection, run: str) -> bool:
    """Whether a run has a page without a final state; counts none."""
    async with database_errors():
        row = await (await conn.execute(_SQL["has_unfinished_pages"], {"run_id": run})).fetchone()
    return bool(row and row[0])


async def unfinished_tenants(conn: Connection, run: str) -> list[tuple[str, str]]:
    """Return the credentials and properties of the unfinished pages of a run."""
    async with database_errors():
        return await (await conn.execute(_SQL["unfinished_tenants"], {"run_id": run})).fetchall()


async def series_number(conn: Connection, key: SeriesKey) -> int:
    """The number of a series, given on first use."""
    return (await series_numbers(conn, [key]))[key]


async def series_numbers(conn: Connection, keys: Iterable[SeriesKey]) -> dict[SeriesKey, int]:
    """The numbers of series, given on first use. Two statements for each report and search type.

    Call it outside a long transaction: another one that uses a new series waits until the one that added it ends.
    """
    properties: dict[SeriesKey, list[str]] = {}
    for key in keys:
        properties.setdefault(key._replace(property=""), []).append(key.property)
    numbers = {}
    async with database_errors():
        for kind, names in properties.items():
            parameters = {
                "properties": sorted(names),
                "report": kind.report,
                "search_type": kind.search_type,
                "dimensions": list(kind.dimensions),
                "selection": msgspec.json.encode(kind.selection).decode(),
            }
            await conn.execute(_SQL["add_series"], parameters)
            async for name, number in await conn.execute(_SQL["series_numbers"], parameters):
                numbers[kind._replace(property=name)] = number
    return numbers


async def properties(conn: Connection) -> set[str]:
    """Every property that the ledger has a series of."""
    async with database_errors():
        return {row[0] for row in await (await conn.execute(_SQL["properties"])).fetchall()}
