"""Writes results to PostgreSQL: rows, ledger and completion of days in one transaction, idempotently."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import astuple, dataclass
from datetime import date
from itertools import compress, zip_longest
from typing import cast

from pipeline.contracts import codec
from pipeline.contracts.messages import Batch, PageOutcome, Result, Rows, Unchanged
from pipeline.contracts.records import Record, SeriesKey
from pipeline.errors import Invalid
from pipeline.ledger import page_results, runs
from pipeline.metrics import counter
from pipeline.postgres import Connection, database_errors, queries
from sink.assembly import Assembly, FetchKey, ReceivedResult, Texts, assemble, fetch_key
from sink.completion import StoredDay, complete_days, lock_days
from sink.facts import write_pages
from sink.rows import PageText, SeriesDay, page_text
from sink.unchanged import UnchangedResult, apply_unchanged, one_generation_a_day
from sink.write_parts import write_limit_s

_SQL = queries("sink", "writer.sql")


@dataclass(frozen=True)
class Applied:
    """What one transaction did, in pages, rows and days. Pages that were applied or cancelled before do not count.

    `unchanged` pages are among the applied ones; `refetched` ones are pending again, since the table has other rows.
    """

    pages: int = 0
    rows: int = 0
    written: int = 0
    deleted: int = 0
    days: int = 0
    unchanged: int = 0
    refetched: int = 0

    def __add__(self, other: "Applied") -> "Applied":
        return Applied(*map(sum, zip(astuple(self), astuple(other), strict=True)))


class Writer:
    """Writes batches of results over one connection, one at a time."""

    def __init__(self, conn: Connection, delete_ratio: float) -> None:
        self._conn = conn
        self._delete_ratio = delete_ratio
        self._usual_limit_s = conn.limits.answer_s
        self._series: dict[SeriesKey, int] = {}
        self._months: set[date] = set()

    async def probe(self) -> None:
        """Ask PostgreSQL something if it has not answered lately. Raises Retryable."""
        if self._conn.limits.answer_s != self._usual_limit_s:  # that of a large transaction
            async with database_errors():
                await self._conn.limit_statements(self._usual_limit_s)
        await self._conn.probe()

    async def unknown_runs(self, received: Iterable[ReceivedResult]) -> set[runs.RunKey]:
        """Return the runs that the ledger does not have with the generation of these results."""
        return await runs.unknown_runs(self._conn, [runs.run_of(item.message.batch) for item in received])

    def format_pages(self, received: Sequence[ReceivedResult]) -> Texts:
        """Return the text of the pages that are complete, if their series are known. It may run in a thread."""
        try:
            fetches = assemble(received, {}).fetches
        except Invalid:  # found again when they are written
            return {}
        return self._texts([chunks for chunks in fetches if runs.series_of(chunks[0].message.batch) in self._series])

    async def write(self, received: list[ReceivedResult], texts: Texts | None = None) -> Applied:
        """Apply complete fetches and park other chunks. Raises Retryable, or Invalid for an unstorable value.

        `texts` has pages that are formatted already. The more there is to write, the longer a statement may take;
        beyond that, TooSlow.
        """
        async with database_errors():
            await self._conn.limit_statements(write_limit_s(self._usual_limit_s, received))
            work = assemble(received, await self._parked(received))
            await self._prepare(work)
            texts = dict(texts or {})
            texts |= await asyncio.to_thread(self._texts, [new for new in work.fetches if _key_of(new) not in texts])
            async with self._conn.transaction():
                applied = await self._apply(work, texts)
        _count(applied)
        return applied

    async def _parked(self, received: list[ReceivedResult]) -> dict[FetchKey, list[ReceivedResult]]:
        keys = sorted(
            {fetch_key(item.message) for item in received if isinstance(item.message, Rows) and item.message.chunks > 1}
        )
        if not keys:
            return {}
        parameters = {"batches": [key[0] for key in keys], "fetches": [key[1] for key in keys]}
        parked: dict[FetchKey, list[ReceivedResult]] = {}
        async for _, value in await self._conn.execute(_SQL["parked"], parameters):
            message = codec.decode(Rows, bytes(value))
            record = Record("", -1, -1, None, bytes(value), 0)
            parked.setdefault(fetch_key(message), []).append(ReceivedResult(record, message))
        return parked

    async def _prepare(self, work: Assembly) -> None:
        """Create new series and months, each in its own transaction, so that no other sink waits for this one."""
        for item in (*work.outcomes, *work.unchanged, *work.parked):
            await self._series_of(item.message.batch)
        for chunks in work.fetches:
            batch = chunks[0].message.batch
            await self._series_of(batch)
            month = batch.date.replace(day=1)
            if month not in self._months:
                await self._conn.execute(_SQL["ensure_month"], {"day": month})
                self._months.add(month)

    async def _series_of(self, batch: Batch) -> int:
        key = runs.series_of(batch)
        if key not in self._series:
            self._series[key] = await runs.series_number(self._conn, key)
        return self._series[key]

    def _texts(self, fetches: Iterable[list[ReceivedResult]]) -> Texts:
        return {
            _key_of(chunks): page_text(_messages(chunks), self._series[runs.series_of(chunks[0].message.batch)])
            for chunks in fetches
        }

    async def _apply(self, work: Assembly, texts: Texts) -> Applied:
        results = [item.message for item in (*work.outcomes, *work.unchanged, *work.parked)]
        results += [chunks[0].message for chunks in work.fetches]
        stored = await lock_days(self._conn, {await self._day_of(result.batch) for result in results})
        closed = await page_results.applied_or_cancelled(self._conn, [result.batch.batch_id for result in results])
        for item in work.outcomes:
            await self._record_outcome(item.message)
        await self._park([item for item in work.parked if _id(item) not in closed])
        fetches = [chunks for chunks in work.fetches if _id(chunks[0]) not in closed]
        applied = await self._apply_rows(fetches, [item.message for item in work.outcomes], texts, stored)
        # After the rows: they may complete the base, as in a replay.
        unchanged = [await self._unchanged_result(item) for item in work.unchanged if _id(item) not in closed]
        for pages in one_generation_a_day(unchanged):
            applied += await self._apply_unchanged(pages)
        return applied

    async def _apply_rows(
        self,
        fetches: Sequence[list[ReceivedResult]],
        outcomes: Sequence[Result],
        texts: Texts,
        stored: Mapping[SeriesDay, StoredDay],
    ) -> Applied:
        written, new_days = 0, set[SeriesDay]()
        for part in _one_page_a_day(fetches):
            pages = [texts[_key_of(chunks)] for chunks in part]
            current = [stored[page.day].newest <= page.generation for page in pages]
            done = await write_pages(self._conn, list(compress(pages, current)))
            written += done.rows
            new_days = (new_days - {page.day for page in pages}) | done.new_days
            await self._apply_pages(list(map(_applied_page, pages, part, current)))
            await self._reopen([page for page in compress(pages, current) if stored[page.day].repeated])
        heads = [_messages(chunks)[0] for chunks in fetches]
        completed, deleted = await self._complete([*heads, *outcomes], new_days)
        return Applied(len(fetches), sum(page.page_rows for page in heads), written, deleted, completed)

    async def _reopen(self, pages: Sequence[PageText]) -> None:
        """Fetch the unchanged pages of these days with their rows: one may share a row with a changed page."""
        if pages:
            days = [page_results.DayGeneration(*page.day, page.generation) for page in pages]
            await page_results.reopen_unchanged(self._conn, days)

    async def _apply_unchanged(self, pages: Sequence[UnchangedResult]) -> Applied:
        stored = await lock_days(self._conn, {page.day for page in pages})
        applied = await apply_unchanged(self._conn, pages, stored)
        await self._apply_pages(applied)
        completed, deleted = await self._complete([page.result for page in pages], frozenset())
        count, refetched = len(applied), len(pages) - len(applied)
        return Applied(count, deleted=deleted, days=completed, unchanged=count, refetched=refetched)

    async def _unchanged_result(self, item: ReceivedResult) -> UnchangedResult:
        return UnchangedResult(await self._day_of(item.message.batch), cast("Unchanged", item.message), item.record)

    async def _day_of(self, batch: Batch) -> SeriesDay:
        return await self._series_of(batch), batch.date

    async def _record_outcome(self, message: Result) -> None:
        if isinstance(message, PageOutcome):
            await page_results.record_outcome(self._conn, await self._series_of(message.batch), message)

    async def _apply_pages(self, pages: Sequence[page_results.AppliedPage]) -> None:
        if pages:
            await page_results.apply(self._conn, pages)
            await self._conn.execute(_SQL["unpark"], {"batches": [page.result.batch.batch_id for page in pages]})

    async def _park(self, items: Iterable[ReceivedResult]) -> None:
        new = [
            (*fetch_key(message), message.chunk, item.record.value)
            for item in items
            for message in _messages([item])
            if item.record.offset >= 0
        ]
        if new:
            names = ("batches", "fetches", "chunks", "values")
            columns = map(list, zip(*new, strict=True))
            await self._conn.execute(_SQL["park"], dict(zip(names, columns, strict=True)))

    async def _complete(self, results: Iterable[Result], new_days: Set[SeriesDay]) -> tuple[int, int]:
        """Count the days of the results, and complete those that can be. Return (days, rows deleted)."""
        touched: dict[page_results.DayGeneration, list[Result]] = {}
        for result in results:
            day = page_results.DayGeneration(*await self._day_of(result.batch), result.batch.generation)
            touched.setdefault(day, []).append(result)
        return await complete_days(self._conn, touched, new_days, self._delete_ratio) if touched else (0, 0)


def _id(item: ReceivedResult) -> str:
    return item.message.batch.batch_id


def _applied_page(page: PageText, chunks: list[ReceivedResult], current: bool) -> page_results.AppliedPage:
    return page_results.AppliedPage(page.series, _messages(chunks)[-1], chunks[-1].record, current)


def _key_of(chunks: list[ReceivedResult]) -> FetchKey:
    return fetch_key(_messages(chunks)[0])


def _one_page_a_day(fetches: Iterable[list[ReceivedResult]]) -> list[list[list[ReceivedResult]]]:
    """Divide fetches into parts with at most one page of each day, the pages of a day in their order."""
    days: dict[tuple[SeriesKey, date], list[list[ReceivedResult]]] = {}
    for chunks in sorted(fetches, key=_order):
        batch = chunks[0].message.batch
        days.setdefault((runs.series_of(batch), batch.date), []).append(chunks)
    return [[chunks for chunks in part if chunks] for part in zip_longest(*days.values())]


def _order(chunks: Sequence[ReceivedResult]) -> tuple[int, int]:
    batch = chunks[0].message.batch
    return batch.generation, batch.start_row


def _messages(chunks: list[ReceivedResult]) -> list[Rows]:
    return [item.message for item in chunks if isinstance(item.message, Rows)]


def _count(applied: Applied) -> None:
    counter("gsc_pages_applied_total").inc(applied.pages)
    counter("gsc_unchanged_pages_total").labels("applied").inc(applied.unchanged)
    counter("gsc_unchanged_pages_total").labels("refetched").inc(applied.refetched)
    counter("gsc_days_completed_total").inc(applied.days)
    counter("gsc_rows_total").labels("applied").inc(applied.written)
    counter("gsc_rows_total").labels("skipped").inc(applied.rows - applied.written)
    counter("gsc_rows_total").labels("deleted").inc(applied.deleted)
