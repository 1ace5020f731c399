"""Pages (`gsc.pages`) in the ledger: the producer's queue, what operators and the retention change, and counts.

What the sink records is in `page_results`. DESIGN.md has the whole table of states. Every function raises Retryable
while PostgreSQL cannot be reached, and Fatal for what trying again cannot change.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date
from typing import Any, Literal, NamedTuple, get_args

import msgspec
from psycopg import AsyncCopy

from pipeline.contracts.messages import Batch
from pipeline.contracts.records import OverduePage, PendingGroup, Position, UnfinishedPages
from pipeline.postgres import Connection, database_errors, queries

_SQL = queries("pipeline.ledger", "pages.sql")

State = Literal["pending", "published", "applied", "dead", "cancelled"]
STATES: tuple[State, ...] = get_args(State)
_BATCH_FIELDS = (
    "batch_id", "run_id", "generation", "priority", "credential", "property", "report", "search_type", "dimensions",
    "data_state", "date", "start_row", "row_limit", "selection",
)  # fmt: skip


class PendingPage(NamedTuple):
    """The first page of a day, as the planner writes it. `round` counts the pages of its property in its run.

    A page that is not `conditional` is fetched without a base: its rows are sent in any case.
    """

    batch_id: str
    run_id: str
    generation: int
    series: int
    date: date
    start_row: int
    row_limit: int
    data_state: str
    credential: str
    priority: str
    round: int
    conditional: bool = True


@asynccontextmanager
async def pending_copy(conn: Connection) -> AsyncIterator[AsyncCopy]:
    """Insert pages by COPY for the length of a block; pass each to `write_pending`."""
    async with database_errors(), conn.cursor() as cursor, cursor.copy(_SQL["insert_pending"]) as copy:
        yield copy


async def write_pending(copy: AsyncCopy, page: PendingPage) -> None:
    """Add one page to the COPY under way."""
    await copy.write_row((*page, "pending"))


async def use_index_scans(conn: Connection) -> None:
    """Prepare a connection for the statements of the outbox, which it repeats several times a second."""
    async with database_errors():
        await conn.execute(_SQL["use_index_scans"])


async def pending_groups(conn: Connection) -> list[PendingGroup]:
    """Every group of pending pages of planned runs, the oldest run of a credential and priority first."""
    async with database_errors():
        return [PendingGroup(*row) async for row in await conn.execute(_SQL["pending_groups"])]


async def published_by_credential(conn: Connection) -> dict[str, int]:
    """How many published pages each credential has; without those that have none."""
    async with database_errors():
        return {row[0]: row[1] async for row in await conn.execute(_SQL["published_by_credential"])}


async def unfinished(conn: Connection, halted_properties: Iterable[str] = ()) -> list[UnfinishedPages]:
    """Every credential and planned run with pending pages, and every one with published pages. Counts all of them."""
    async with database_errors():
        cursor = await conn.execute(_SQL["unfinished"], {"properties": list(halted_properties)})
        return [UnfinishedPages(*row) async for row in cursor]


async def unfinished_by_property(conn: Connection) -> dict[str, int]:
    """How many pages of planned runs each property has without a result; those with none are left out."""
    async with database_errors():
        return dict(await (await conn.execute(_SQL["unfinished_by_property"])).fetchall())


async def count_by_state(conn: Connection) -> dict[str, int]:
    """How many pages of the runs of the last 30 days are in each state; without those that have none."""
    async with database_errors():
        return dict(await (await conn.execute(_SQL["count_by_state"])).fetchall())


async def count_unchanged(conn: Connection) -> int:
    """How many of these pages were applied without their rows, which were stored before."""
    async with database_errors():
        row = await (await conn.execute(_SQL["count_unchanged"])).fetchone()
    return int(row[0]) if row else 0


async def next_pending(
    conn: Connection,
    counts: Mapping[PendingGroup, int],
    halted_properties: Iterable[str],
    floors: Mapping[PendingGroup, int] = {},
) -> list[Batch]:
    """The first pages of each group, with their bases, up to its count, without those of halted properties.

    Pages of a round below the floor of their group are not looked at.
    """
    parameters = {
        **_group_columns(counts),
        "counts": list(counts.values()),
        "floors": [floors.get(group, 0) for group in counts],
        "properties": list(halted_properties),
    }
    async with database_errors():
        rows = await (await conn.execute(_SQL["next_pending"], parameters)).fetchall()
    return [_batch(row) for row in rows]


async def first_rounds(
    conn: Connection, groups: Sequence[PendingGroup], halted_properties: Iterable[str]
) -> dict[PendingGroup, int]:
    """The round of the first page of each group outside halted properties; without groups that have no such page."""
    parameters = {**_group_columns(groups), "properties": list(halted_properties)}
    async with database_errors():
        cursor = await conn.execute(_SQL["first_rounds"], parameters)
        return {groups[number - 1]: first async for number, first in cursor}


def _group_columns(groups: Iterable[PendingGroup]) -> dict[str, list[Any]]:
    listed = list(groups)
    return {
        "credentials": [group.credential for group in listed],
        "priorities": [group.priority for group in listed],
        "generations": [group.generation for group in listed],
    }


def _batch(row: Sequence[Any]) -> Batch:
    *page, generation, digests = row
    base = generation and {"generation": generation, "digests": [digest.hex for digest in digests]}
    fields = dict(zip(_BATCH_FIELDS, page, strict=True))
    return msgspec.convert({**fields, "batch_id": row[0].hex, "base": base}, Batch)


async def mark_published(conn: Connection, batches: Sequence[Batch], positions: Sequence[Position]) -> None:
    """Record that the broker has acknowledged these batches, and where they lie."""
    parameters = {
        "batches": [batch.batch_id for batch in batches],
        "partitions": [position.partition for position in positions],
        "offsets": [position.offset for position in positions],
    }
    async with database_errors():
        await conn.execute(_SQL["mark_published"], parameters)


async def overdue(conn: Connection, seconds: float) -> list[OverduePage]:
    """Return pages that were published at least this number of seconds ago and have no result."""
    async with database_errors():
        rows = await (await conn.execute(_SQL["overdue"], {"seconds": seconds})).fetchall()
    return [
        OverduePage(page.hex, credential, property_, None if offset is None else Position(partition, offset))
        for page, credential, property_, partition, offset in rows
    ]


async def republish(conn: Connection, batch_ids: Sequence[str]) -> int:
    """Make published pages pending again; returns how many still had no result."""
    async with database_errors():
        return (await conn.execute(_SQL["republish"], {"batches": list(batch_ids)})).rowcount


async def move(conn: Connection, credentials: Mapping[str, str], limit: int) -> int:
    """Move pending pages to the credentials of their properties, at most `limit`; returns how many had another one."""
    parameters = {"properties": list(credentials), "credentials": list(credentials.values()), "limit": limit}
    async with database_errors():
        return (await conn.execute(_SQL["move"], parameters)).rowcount


async def states(conn: Connection, batch_ids: Sequence[str]) -> dict[str, State]:
    """The state of each of the pages that the ledger has, by batch id."""
    async with database_errors():
        rows = await (await conn.execute(_SQL["states"], {"batches": list(batch_ids)})).fetchall()
    return {row[0].hex: row[1] for row in rows}


async def redrive(conn: Connection, batch: str) -> bool:
    """Make a dead page pending again; False when it is not dead."""
    async with database_errors():
        return (await conn.execute(_SQL["redrive"], {"batch": batch})).rowcount == 1


async def cancel(conn: Connection, run: str) -> int:
    """Cancel the unfinished pages of a run; returns how many."""
    async with database_errors():
        return (await conn.execute(_SQL["cancel"], {"run_id": run})).rowcount


async def delete_expired(conn: Connection, series: Sequence[int], before: date) -> int:
    """Delete pages of the series in a final state whose day is before the date; returns how many."""
    async with database_errors():
        parameters = {"series": list(series), "before": before}
        return (await conn.execute(_SQL["delete_expired"], parameters)).rowcount


async def delete_superseded(conn: Connection, series: Sequence[int], days: int) -> int:
    """Delete pages finished `days` days ago whose day is complete in a newer generation; returns how many."""
    async with database_errors():
        parameters = {"series": list(series), "days": days}
        return (await conn.execute(_SQL["delete_superseded"], parameters)).rowcount
