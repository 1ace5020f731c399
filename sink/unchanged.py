"""Unchanged pages: their rows were not sent, since the table has them, unless it has others meanwhile.

Two things keep this exact. A page is confirmed only while the table has the base and nothing newer; and from then on no
generation between the base and that of the page writes to the day.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pipeline.contracts.identity import page_number
from pipeline.contracts.messages import Unchanged
from pipeline.contracts.records import Record
from pipeline.ledger import page_results
from pipeline.ledger.page_results import AppliedPage, DayGeneration
from pipeline.postgres import Connection
from sink.completion import StoredDay, confirm_days
from sink.rows import SeriesDay


class UnchangedResult(NamedTuple):
    """An `unchanged` result with the day of its page and its record."""

    day: SeriesDay
    result: Unchanged
    record: Record

    @property
    def generation(self) -> DayGeneration:
        """The day in the generation of the page."""
        return DayGeneration(*self.day, self.result.batch.generation)


def one_generation_a_day(pages: Iterable[UnchangedResult]) -> list[list[UnchangedResult]]:
    """Return the pages in lists, with one generation of a day in each.

    The oldest comes first, since it may be the base of the next. Pure.
    """
    generations: dict[SeriesDay, set[int]] = {}
    by_number: dict[int, list[UnchangedResult]] = {}
    for page in sorted(pages, key=lambda page: page.generation):
        of_day = generations.setdefault(page.day, set())
        of_day.add(page.generation.generation)
        by_number.setdefault(len(of_day), []).append(page)
    return [by_number[number] for number in sorted(by_number)]


def is_base(day: StoredDay, result: Unchanged) -> bool:
    """Return whether the table has the rows that a page was compared with, by the record of the day. Pure."""
    number = page_number(result.batch)
    return day.complete == result.base_generation and day.digests[number : number + 1] == (result.digest,)


async def apply_unchanged(
    conn: Connection, pages: Sequence[UnchangedResult], stored: Mapping[SeriesDay, StoredDay]
) -> list[AppliedPage]:
    """Return the pages that are applied without rows. The others become pending again, to be fetched without a base.

    `stored` has the days, which the transaction has locked. A page is applied, and changes nothing, when the table has
    a newer generation.
    """
    same = {page.generation for page in pages if is_base(stored[page.day], page.result)}
    mixed = await page_results.written_by_others(conn, list(same)) if same else set()
    applied, confirmed = [], set()
    for page in pages:
        series, day = page.day[0], stored[page.day]
        if page.generation.generation < day.newest:
            applied.append(AppliedPage(series, page.result, page.record, current=False))
        elif is_base(day, page.result) and page.generation not in mixed:
            applied.append(AppliedPage(series, page.result, page.record))
            confirmed.add(page.generation)
        else:
            await page_results.refetch(conn, series, page.result.batch)
    if confirmed:
        await confirm_days(conn, confirmed)
    return applied
