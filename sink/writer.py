"""Results into PostgreSQL: rows, ledger and completion in one transaction, however often they arrive."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from pipeline.contracts import codec
from pipeline.contracts.identity import batch_id, page_of
from pipeline.contracts.messages import Batch, Outcome, Rows
from pipeline.contracts.records import Record
from pipeline.errors import Invalid
from pipeline.metrics import counter
from pipeline.postgres import Connection, queries, told_as_flows
from pipeline.telemetry import about_day, logger
from sink.batching import FetchKey, Received, RunKey, Work, assemble, run_of
from sink.rows import copy_text

CAP = 50_000
"""Rows a day, search type and property that Google lists at most, or a little more."""
_SQL = queries("sink", "writer.sql")
_log = logger(__name__)


@dataclass(frozen=True)
class Applied:
    """What one transaction did, in rows, pages and days."""

    pages: int = 0
    rows: int = 0
    written: int = 0
    deleted: int = 0
    days: int = 0


class Writer:
    """Writes batches of results over one connection, one at a time."""

    def __init__(self, conn: Connection, delete_ratio: float) -> None:
        self._conn = conn
        self._delete_ratio = delete_ratio
        self._series: dict[tuple[str, str, str, tuple[str, ...]], int] = {}
        self._months: set[date] = set()

    async def unknown_runs(self, received: Iterable[Received]) -> set[RunKey]:
        """Runs, with their generation, that the ledger has never heard of."""
        asked = {run_of(item) for item in received}
        async with told_as_flows():
            cursor = await self._conn.execute(_SQL["known_runs"], {"runs": [run for run, _ in asked]})
            return asked - {(run, generation) async for run, generation in cursor}

    async def make_runs(self, batches: Iterable[Batch], at: datetime) -> None:
        """Make the runs known that are only known from results: a replay needs no plan."""
        runs = sorted({(batch.run_id, batch.generation, batch.priority) for batch in batches})
        names = ("runs", "generations", "priorities")
        columns = dict(zip(names, map(list, zip(*runs, strict=True)), strict=True))
        async with told_as_flows():
            await self._conn.execute(_SQL["make_runs"], {**columns, "at": at})

    async def write(self, received: list[Received]) -> Applied:
        """Apply what is whole, park the rest. Raises Retryable, or Invalid for what cannot be stored."""
        async with told_as_flows():
            work = assemble(received, await self._parked(received))
            await self._prepare(work)
            async with self._conn.transaction():
                applied = await self._apply(work)
        _count(applied)
        return applied

    async def _parked(self, received: list[Received]) -> dict[FetchKey, list[Received]]:
        keys = sorted(
            {
                (item.message.batch.batch_id, item.message.fetch_id)
                for item in received
                if isinstance(item.message, Rows) and item.message.chunks > 1
            }
        )
        if not keys:
            return {}
        parameters = {"batches": [key[0] for key in keys], "fetches": [key[1] for key in keys]}
        parked: dict[FetchKey, list[Received]] = {}
        async for _, value in await self._conn.execute(_SQL["parked"], parameters):
            message = codec.decode(Rows, bytes(value))
            record = Record("", -1, -1, None, bytes(value), 0)
            parked.setdefault((message.batch.batch_id, message.fetch_id), []).append(Received(record, message))
        return parked

    async def _prepare(self, work: Work) -> None:
        """Series and months that are new, each in a transaction of its own: nobody waits for them."""
        await self._conn.execute(_SQL["stage"])
        for item in work.outcomes:
            await self._series_of(item.message.batch)
        for chunks in work.fetches:
            batch = chunks[0].message.batch
            await self._series_of(batch)
            month = batch.date.replace(day=1)
            if month not in self._months:
                await self._conn.execute(_SQL["ensure_month"], {"day": month})
                self._months.add(month)

    async def _series_of(self, batch: Batch) -> int:
        key = (batch.property, batch.report, batch.search_type, batch.dimensions)
        if key not in self._series:
            names = ("property", "report", "search_type", "dimensions")
            parameters = dict(zip(names, (*key[:3], list(batch.dimensions)), strict=True))
            row = await (await self._conn.execute(_SQL["series"], parameters)).fetchone()
            self._series[key] = row[0] if row else 0
        return self._series[key]

    async def _apply(self, work: Work) -> Applied:
        for item in work.outcomes:
            await self._outcome(item.message)
        for item in work.parked:
            await self._park(item)
        if not work.fetches:
            return Applied()
        pages = [[chunk.message for chunk in chunks if isinstance(chunk.message, Rows)] for chunks in work.fetches]
        newest = await self._locked_days(pages)
        finished = await self._finished(pages)
        written = await self._write_rows(await self._to_write(pages, newest, finished))
        for chunks in work.fetches:
            if finished.get(chunks[0].message.batch.batch_id) != "cancelled":
                await self._settle(chunks)
        await self._conn.execute(_SQL["unpark"], {"batches": [page[0].batch.batch_id for page in pages]})
        days, deleted = await self._complete(pages)
        rows = sum(page[0].page_rows for page in pages)
        return Applied(len(pages), rows, written, deleted, days)

    async def _locked_days(self, pages: list[list[Rows]]) -> dict[tuple[int, date], int]:
        """Lock the days, always in the same order; returns the generation in which each was last complete."""
        days = sorted({(await self._series_of(page[0].batch), page[0].batch.date) for page in pages})
        parameters = {"series": [day[0] for day in days], "dates": [day[1] for day in days]}
        await self._conn.execute(_SQL["make_days"], parameters)
        cursor = await self._conn.execute(_SQL["lock_days"], parameters)
        return {(series, day): generation or 0 async for series, day, generation in cursor}

    async def _finished(self, pages: list[list[Rows]]) -> dict[str, str]:
        """The last states of those pages that are in one which rows do not change."""
        parameters = {"batches": [page[0].batch.batch_id for page in pages]}
        return {row[0].hex: row[1] async for row in await self._conn.execute(_SQL["finished"], parameters)}

    async def _to_write(
        self, pages: list[list[Rows]], newest: dict[tuple[int, date], int], finished: Mapping[str, str]
    ) -> list[list[Rows]]:
        """Pages whose rows are wanted, of days that no newer generation has completed."""
        return [
            page
            for page in pages
            if page[0].batch.batch_id not in finished
            and newest[await self._series_of(page[0].batch), page[0].batch.date] <= page[0].batch.generation
        ]

    async def _write_rows(self, pages: list[list[Rows]]) -> int:
        """COPY into the staging table, then the guarded upsert; returns the rows written."""
        # The newest generation of a row first: a row that is repeated, on two pages or in two runs, is staged once.
        pages.sort(key=lambda page: -page[0].batch.generation)
        seen: set[tuple[int, date, bytes]] = set()
        async with self._conn.cursor() as cursor:
            async with cursor.copy(_SQL["copy"]) as copy:
                for message in (chunk for page in pages for chunk in page):
                    series = await self._series_of(message.batch)
                    await copy.write(_block(message, series, seen))
            await cursor.execute(_SQL["upsert"])
            row = await cursor.fetchone()
        return int(row[0]) if row else 0

    async def _settle(self, chunks: list[Received]) -> None:
        message = chunks[-1].message
        if not isinstance(message, Rows):
            return
        ledger = await self._ledger_of(message.batch)
        fetched = {
            "rows": message.page_rows,
            "next_start_row": message.next_start_row,
            "fetch_id": message.fetch_id,
            "fetched_at": message.fetched_at,
            "partition": chunks[-1].record.partition,
            "offset": chunks[-1].record.offset,
        }
        await self._conn.execute(_SQL["settle_page"], ledger | fetched)
        if message.next_start_row is not None:
            page = page_of(message.batch)._replace(start_row=message.next_start_row)
            following = {"batch_id": batch_id(page), "start_row": message.next_start_row}
            await self._conn.execute(_SQL["follow_page"], ledger | following)

    async def _ledger_of(self, batch: Batch) -> dict[str, Any]:
        return {
            "batch_id": batch.batch_id,
            "run_id": batch.run_id,
            "generation": batch.generation,
            "series": await self._series_of(batch),
            "date": batch.date,
            "start_row": batch.start_row,
            "row_limit": batch.row_limit,
            "data_state": batch.data_state,
            "credential": batch.credential,
            "priority": batch.priority,
        }

    async def _outcome(self, message: Rows | Outcome) -> None:
        if not isinstance(message, Outcome):
            return
        statement = "page_is_dead" if message.state == "dead" else "page_is_owed"
        why = {"at": message.at, "reason": message.reason, "detail": message.detail.replace("\x00", "")}
        await self._conn.execute(_SQL[statement], await self._ledger_of(message.batch) | why)

    async def _park(self, item: Received) -> None:
        message = item.message
        if isinstance(message, Rows) and item.record.offset >= 0:
            parameters = {
                "batch_id": message.batch.batch_id,
                "fetch_id": message.fetch_id,
                "chunk": message.chunk,
                "value": item.record.value,
            }
            await self._conn.execute(_SQL["park"], parameters)

    async def _complete(self, pages: list[list[Rows]]) -> tuple[int, int]:
        """Complete the days that are whole now, and sweep what vanished; returns (days, rows deleted)."""
        touched: dict[tuple[int, date, int], Batch] = {}
        may_change = set()
        for page in pages:
            batch = page[0].batch
            incomplete_from = page[0].first_incomplete_date
            key = (await self._series_of(batch), batch.date, batch.generation)
            touched[key] = batch
            if incomplete_from is not None and incomplete_from <= batch.date:
                may_change.add(key)
        series, dates, generations = (list(column) for column in zip(*touched, strict=True))
        parameters = {"series": series, "dates": dates, "generations": generations}
        whole = await (await self._conn.execute(_SQL["completed_days"], parameters)).fetchall()
        deleted = 0
        for number, day, generation, rows in whole:
            key = (number, day, generation)
            values = {"series": number, "date": day, "generation": generation, "rows": rows, "cap": CAP}
            values["may_change"] = key in may_change
            if (await self._conn.execute(_SQL["complete_day"], values)).rowcount:
                deleted += await self._sweep(values, touched[key])
        return len(whole), deleted

    async def _sweep(self, day: dict[str, Any], batch: Batch) -> int:
        """Delete the day's rows of older generations, unless they are too many to be believed."""
        row = await (await self._conn.execute(_SQL["vanished"], day)).fetchone()
        vanished, all_rows = row or (0, 0)
        if vanished > self._delete_ratio * all_rows:
            _log.error("vanished_rows_kept", vanished=vanished, of=all_rows, **about_day(batch))
            counter("gsc_rows_total").labels("kept").inc(vanished)
            await self._conn.execute(_SQL["keep_vanished"], {**day, "vanished": vanished})
            return 0
        if not vanished:
            return 0
        return (await self._conn.execute(_SQL["sweep"], day)).rowcount


async def write_apart(
    received: list[Received],
    write: Callable[[list[Received]], Awaitable[None]],
    unstorable: Callable[[Received, Invalid], Awaitable[None]],
) -> None:
    """Write; what is refused is halved until the message at fault is alone, and told to `unstorable`."""
    if not received:
        return
    try:
        await write(received)
    except Invalid as error:
        if len(received) == 1:
            await unstorable(received[0], error)
            return
        middle = len(received) // 2
        await write_apart(received[:middle], write, unstorable)
        await write_apart(received[middle:], write, unstorable)


def _block(message: Rows, series: int, seen: set[tuple[int, date, bytes]]) -> bytes:
    """The lines of one chunk, without rows that were staged before."""
    lines = []
    day = message.batch.date
    for key, line in copy_text(message, series):
        place = (series, day, key)
        if place not in seen:
            seen.add(place)
            lines.append(line)
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace") if lines else b""


def _count(applied: Applied) -> None:
    counter("gsc_pages_applied_total").inc(applied.pages)
    counter("gsc_days_completed_total").inc(applied.days)
    counter("gsc_rows_total").labels("applied").inc(applied.written)
    counter("gsc_rows_total").labels("skipped").inc(applied.rows - applied.written)
    counter("gsc_rows_total").labels("deleted").inc(applied.deleted)
