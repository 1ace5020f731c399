"""The ledger as the planner uses it: plan a run, take what is owed, mark what was published."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from pipeline.catalog import Catalog
from pipeline.clock import pacific_date
from pipeline.contracts import codec
from pipeline.contracts.identity import run_id
from pipeline.contracts.messages import Batch, Control, SyncRequest
from pipeline.contracts.records import Position
from pipeline.errors import Invalid
from pipeline.postgres import PUBLISHER_LOCK, Connection, queries, told_as_flows
from producer.admission import asks_the_same
from producer.owing import Overdue
from producer.planning import ROW_LIMIT, PlannedPage, plan

_SQL = queries("producer", "ledger.sql")
LAST_STATES = ("applied", "dead", "cancelled")
"""Of a page: nothing more comes of it by itself."""


@dataclass(frozen=True)
class Planned:
    """What became of a request; `pages` is 0 when the run was known."""

    run_id: str
    pages: int


async def plan_run(conn: Connection, request: SyncRequest, catalog: Catalog, now: datetime) -> Planned:
    """Write the run and its first pages in one transaction; the same request again changes nothing.

    Raises Invalid when the request id is taken by another request, Retryable when the database is away.
    """
    async with told_as_flows(), conn.transaction():
        generation = await _make_run(conn, request, now)
        if generation is None:
            return Planned(await _same_run(conn, request), 0)
        return Planned(run_id(request.request_id), await _copy_pages(conn, request, catalog, generation))


async def _make_run(conn: Connection, request: SyncRequest, now: datetime) -> int | None:
    parameters = {
        "run_id": run_id(request.request_id),
        "request_id": request.request_id,
        "milliseconds": round(now.timestamp() * 1000),
        "priority": request.priority,
        "request": codec.encode(request).decode(),
        "now": now,
    }
    row = await (await conn.execute(_SQL["make_run"], parameters)).fetchone()
    return row[0] if row else None


async def _same_run(conn: Connection, request: SyncRequest) -> str:
    row = await (await conn.execute(_SQL["known_run"], {"run_id": run_id(request.request_id)})).fetchone()
    if row is None:
        raise Invalid(f"the id or the generation of {request.request_id!r} is another run's", field="request_id")
    if row[2]:  # known from its results alone
        return str(row[0])
    if not asks_the_same(msgspec.convert(row[1], SyncRequest), request):
        raise Invalid(f"{request.request_id!r} was given to another request before", field="request_id")
    return str(row[0])


async def request_of(conn: Connection, run: str) -> SyncRequest | None:
    """What was asked for with a run; None when it was not planned, or is known from its results alone."""
    async with told_as_flows():
        row = await (await conn.execute(_SQL["known_run"], {"run_id": run})).fetchone()
    return None if row is None or row[2] else msgspec.convert(row[1], SyncRequest)


async def _copy_pages(conn: Connection, request: SyncRequest, catalog: Catalog, generation: int) -> int:
    series: dict[tuple[str, str, str], int] = {}
    pages = list(plan(request, catalog, generation, pacific_date(request.requested_at)))
    for page in pages:
        if (key := (page.property, page.report.name, page.search_type)) not in series:
            series[key] = await _series(conn, page)
    run = run_id(request.request_id)
    async with conn.cursor() as cursor, cursor.copy(_SQL["copy_pages"]) as copy:
        for page in pages:
            number = series[page.property, page.report.name, page.search_type]
            state = page.report.data_state
            row = (page.batch_id, run, generation, number, page.date, 0, ROW_LIMIT, state)
            await copy.write_row((*row, page.credential, request.priority, page.turn, "owed"))
    return len(pages)


async def _series(conn: Connection, page: PlannedPage) -> int:
    parameters = {
        "property": page.property,
        "report": page.report.name,
        "search_type": page.search_type,
        "dimensions": list(page.report.dimensions),
    }
    row = await (await conn.execute(_SQL["series"], parameters)).fetchone()
    return int(row[0]) if row else 0


async def properties(conn: Connection) -> set[str]:
    """All that were ever asked for."""
    async with told_as_flows():
        return {row[0] for row in await (await conn.execute(_SQL["properties"])).fetchall()}


async def become_publisher(conn: Connection) -> bool:
    """Whether we are the one planner that publishes, for as long as the connection lives."""
    async with told_as_flows():
        row = await (await conn.execute(_SQL["lock_publisher"], {"lock": PUBLISHER_LOCK})).fetchone()
    return bool(row and row[0])


async def owed(conn: Connection, halts: Iterable[Control], limit: int) -> list[Batch]:
    """The most urgent batches that are owed, outside the halted scopes."""
    halted = [control.scope for control in halts]
    if "all" in halted:
        return []
    parameters = {
        name: [scope.partition(":")[2] for scope in halted if scope.startswith(kind)]
        for name, kind in (("credentials", "credential:"), ("properties", "property:"), ("runs", "run:"))
    }
    async with told_as_flows():
        rows = await (await conn.execute(_SQL["owed"], {**parameters, "limit": limit})).fetchall()
    names = (
        "batch_id", "run_id", "generation", "priority", "credential", "property", "report", "search_type",
        "dimensions", "data_state", "date", "start_row", "row_limit",
    )  # fmt: skip
    return [msgspec.convert({**dict(zip(names, row, strict=True)), "batch_id": row[0].hex}, Batch) for row in rows]


async def mark_published(conn: Connection, batches: Sequence[Batch], positions: Sequence[Position]) -> None:
    """The broker has acknowledged these."""
    parameters = {
        "batches": [batch.batch_id for batch in batches],
        "partitions": [position.partition for position in positions],
        "offsets": [position.offset for position in positions],
    }
    async with told_as_flows():
        await conn.execute(_SQL["mark_published"], parameters)


async def overdue(conn: Connection, seconds: float) -> list[Overdue]:
    """Pages published at least so many seconds ago, without a result."""
    async with told_as_flows():
        rows = await (await conn.execute(_SQL["overdue"], {"seconds": seconds})).fetchall()
    return [Overdue(row[0].hex, None if row[2] is None else Position(row[1], row[2])) for row in rows]


async def owe_again(conn: Connection, batch_ids: Sequence[str]) -> int:
    """Publish these again; returns how many still had no result."""
    async with told_as_flows():
        return (await conn.execute(_SQL["owe_again"], {"batches": list(batch_ids)})).rowcount


async def progress(conn: Connection, run: str) -> dict[str, object] | None:
    """Pages of a run by state, and its rows; None when there is no such run."""
    async with told_as_flows():
        rows = await (await conn.execute(_SQL["progress"], {"run_id": run})).fetchall()
    if not rows:
        return None
    first = rows[0]
    return {
        "run_id": first[0],
        "request_id": first[1],
        "generation": first[2],
        "planned_at": first[3].isoformat(),
        "pages": {row[4]: row[5] for row in rows if row[4]},
        "rows": sum(row[6] for row in rows),
    }


def ended(pages: Mapping[str, int]) -> int:
    """How many of the pages, counted by state, are in their last state."""
    return sum(pages.get(state, 0) for state in LAST_STATES)


async def page_states(conn: Connection, batch_ids: Sequence[str]) -> dict[str, str]:
    """The states of those pages that the ledger knows."""
    async with told_as_flows():
        rows = await (await conn.execute(_SQL["page_states"], {"batches": list(batch_ids)})).fetchall()
    return {row[0].hex: row[1] for row in rows}


async def revive(conn: Connection, batch_id: str) -> bool:
    """Owe a dead page again; False when it is not dead."""
    async with told_as_flows():
        return (await conn.execute(_SQL["revive"], {"batch": batch_id})).rowcount == 1


async def cancel(conn: Connection, run: str) -> int:
    """Cancel a run: what has no rows yet will have none; returns how many pages that were. Twice changes nothing.

    Raises Invalid for a run that the ledger does not know.
    """
    async with told_as_flows(), conn.transaction():
        known = await (await conn.execute(_SQL["known_run"], {"run_id": run})).fetchone()
        if known is None:
            raise Invalid(f"no run {run!r} in the ledger", field="run_id")
        await conn.execute(_SQL["cancel_run"], {"run_id": run})
        return (await conn.execute(_SQL["cancel_pages"], {"run_id": run})).rowcount
