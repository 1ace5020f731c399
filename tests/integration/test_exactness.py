"""The table equals the source after any sequence of events: a stateful test of the sink on a real PostgreSQL.

The state machine plans runs, publishes pages, also without a base, fetches them once or several times, loses
transactions and commits, replays results, and dead-letters and redrives pages, while the source changes. A fetch that
equals the base of its batch has no rows. Rows move between pages, appear on two, and vanish. A row never gets an older
generation, a row that stays as it was is not touched, a page keeps its final state, and the table has the rows that the
ledger counts. After one undisturbed run the table equals the source, and so does an empty
database after a replay of all results, when the pages are fetched whose rows these do not have.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from datetime import date, timedelta
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lab.database import create_database, drop_database
from lab.servers import Servers
from pipeline.contracts import codec, identity
from pipeline.contracts.messages import Batch, PageOutcome, Result, Rows, Unchanged
from pipeline.contracts.records import Position, Record, SeriesKey
from pipeline.ledger import pages, runs
from pipeline.postgres import Connection, connect
from pipeline.schema import migrate
from sink.assembly import ReceivedResult
from sink.writer import Writer
from support.examples import DAY, NOW

T = TypeVar("T")
LIMIT = 2  # rows of a page
DAYS = [DAY + timedelta(days=number) for number in range(2)]
SERIES = SeriesKey("sc-domain:example.com", "by_query", "web", ("date", "query"))
_GENERATIONS = """
    select date, query, greatest(generation, (
        select max(p.generation) from gsc.pages p
        where (p.series, p.date, p.start_row / p.row_limit) = (f.series, f.date, f.page_number)
          and p.state = 'applied' and p.digest is not null
    )) from gsc.facts f
"""
rows = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 9), max_size=5)


class ProcessDied(Exception):
    """The process died during a transaction."""


class Database:
    """A migrated database and a writer, for synchronous code. It remembers what it has read until a change."""

    def __init__(self, runner: "asyncio.Runner", dsn: str) -> None:
        self.run = runner.run
        self._read: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
        self.conn: Connection = self.run(connect(dsn, application="test"))
        self.run(migrate(self.conn))
        self.run(self.execute("truncate gsc.runs, gsc.pages, gsc.days, gsc.series, gsc.facts, gsc.parked_chunks"))
        self.writer = Writer(self.conn, delete_ratio=1.0)

    async def execute(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        cursor = await self.conn.execute(statement.encode(), parameters or None)
        return await cursor.fetchall() if cursor.description else []

    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        key = (statement, *parameters)
        if key not in self._read:
            self._read[key] = self.run(self.execute(statement, *parameters))
        return self._read[key]

    def change(self, work: Coroutine[Any, Any, T]) -> T:
        """Run what may change the database."""
        self._read.clear()
        return self.run(work)

    def write(self, received: list[ReceivedResult], *, replayed: bool = False) -> None:
        async def work() -> None:
            if replayed:
                await runs.restore_runs(self.conn, (item.message.batch for item in received), NOW)
            await self.writer.write(received)

        if received:
            self.change(work())

    def write_and_roll_back(self, received: list[ReceivedResult]) -> None:
        """Write, and lose the process before the transaction is committed."""

        async def work() -> None:
            async with self.conn.transaction():
                await self.writer.write(received)
                raise ProcessDied

        with pytest.raises(ProcessDied):
            self.change(work())
        self.writer = Writer(self.conn, delete_ratio=1.0)  # the next process has a new one

    def plan(self, number: int, *, conditional: bool) -> None:
        """Plan a run of both days with this generation."""

        async def work() -> None:
            run = f"run-{number}"
            await self.execute(
                "insert into gsc.runs (run_id, request_id, generation, priority, request, accepted_at, planned_at)"
                " values (%s, %s, %s, 'backfill', '{}', now(), now())",
                run,
                f"request-{number}",
                number,
            )
            series = await runs.series_number(self.conn, SERIES)
            async with pages.pending_copy(self.conn) as copy:
                for day in DAYS:
                    page = identity.batch_id(identity.Page(*SERIES[:2], "web", day, 0, number))
                    row = (page, run, number, series, day, 0, LIMIT, "final", "acme", "backfill", 0, conditional)
                    await pages.write_pending(copy, pages.PendingPage(*row))

        self.change(work())

    def publish(self, since: int = 0) -> list[Batch]:
        """Publish all pending pages of these generations, and return their batches."""

        async def work() -> list[Batch]:
            groups = [group for group in await pages.pending_groups(self.conn) if group.generation >= since]
            batches = await pages.next_pending(self.conn, dict.fromkeys(groups, 100), [])
            await pages.mark_published(self.conn, batches, [Position(0, 0)] * len(batches))
            return batches

        return self.change(work())

    def table(self) -> dict[tuple[date, str], float]:
        return {(day, query): clicks for day, query, clicks in self.query("select date, query, clicks from gsc.facts")}

    def generations(self) -> dict[tuple[date, str], int]:
        """The newest generation that had the row: its own, or the newest one in which its page was applied."""
        rows = self.query(_GENERATIONS)
        return {(day, query): generation for day, query, generation in rows}

    def versions(self) -> dict[tuple[date, str], tuple[tuple[Any, ...], tuple[Any, ...]]]:
        """The contents and the physical version of each row."""
        rows = self.query("select date, query, clicks, generation, page_number, ctid::text, xmin::text from gsc.facts")
        return {(day, query): (tuple(values[:3]), tuple(values[3:])) for day, query, *values in rows}

    def days(self) -> list[tuple[Any, ...]]:
        """(date, complete generation, rows)."""
        return self.query("select date, complete_generation, rows from gsc.days order by date")

    def confirmed(self) -> dict[date, int]:
        """The generation of each day that has found a page unchanged, if it is newer than the complete one."""
        statement = "select date, confirmed_generation from gsc.days where confirmed_generation > complete_generation"
        return dict(self.query(statement))  # type: ignore[arg-type]

    def superseded(self) -> dict[date, int]:
        """The generation of each day that older ones do not change any more."""
        return {day: complete or 0 for day, complete, _ in self.days()} | self.confirmed()

    def is_complete(self, day: date) -> bool:
        return self.query("select completed_at is not null from gsc.days where date = %s", day) == [(True,)]

    def applied_pages(self) -> list[tuple[Any, ...]]:
        """(date, generation, rows, fetch id)."""
        return self.query("select date, generation, rows, fetch_id from gsc.pages where state = 'applied'")

    def days_with_waiting_pages(self) -> set[tuple[Any, ...]]:
        """(date, generation) of the pages that are not applied."""
        return set(self.query("select date, generation from gsc.pages where state <> 'applied'"))

    def unchanged_pages(self) -> int:
        return len(self.query("select batch_id from gsc.pages where unchanged"))

    def close(self) -> None:
        self.run(self.conn.close())


class Exactness(RuleBasedStateMachine):
    """The source, the topic of results, and the offset that the sink has committed."""

    def __init__(self, dsns: tuple[str, str]) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.dsns = dsns
        self.database = Database(self.runner, dsns[0])
        self.source: dict[date, dict[str, int]] = {day: {} for day in DAYS}
        self.log: list[ReceivedResult] = []
        self.committed = 0
        self.fetches = 0
        self.offset = 0
        self.generation = 0
        self.published: dict[tuple[str, int], Batch] = {}
        self.generations: dict[tuple[date, str], int] = {}
        self.versions: dict[tuple[date, str], tuple[tuple[Any, ...], tuple[Any, ...]]] = {}
        self.settled: dict[Any, str] = {}
        self.applied: dict[Any, tuple[int, str]] = {}
        self.fetched: dict[str, dict[str, int]] = {}

    # Events

    @initialize(first=rows, second=rows)
    def begin(self, first: dict[str, int], second: dict[str, int]) -> None:
        self.source = dict(zip(DAYS, (first, second), strict=True))
        self.plan(conditional=True)
        self.plan(conditional=True)
        self.publish()

    @rule(day=st.sampled_from(DAYS), now=rows)
    def google_revises_a_day(self, day: date, now: dict[str, int]) -> None:
        self.source[day] = now

    @rule(day=st.sampled_from(DAYS), text=st.sampled_from("abcde"), number=st.integers(1, 9))
    def google_revises_a_row(self, day: date, text: str, number: int) -> None:
        self.source[day] = {**self.source[day], text: number}

    @rule(conditional=st.booleans())
    def plan(self, conditional: bool) -> None:
        """Plan a run of both days, with a newer generation."""
        self.generation += 1
        self.database.plan(self.generation, conditional=conditional)

    @rule()
    def publish(self) -> None:
        """Publish the pending pages, compared with what is complete now; earlier batches of them are still there."""
        self.add(self.database.publish())

    def add(self, batches: list[Batch]) -> None:
        self.published.update({_place(batch): batch for batch in batches})

    @precondition(lambda self: self.published)
    @rule(data=st.data(), cut=st.booleans(), written=st.booleans())
    def fetch(self, data: st.DataObject, cut: bool, written: bool) -> None:
        """Fetch a page, for the first time or again; publish the next page of a full one."""
        results, following = self.fetch_page(self.a_published_batch(data), cut=cut)
        self.log += results
        self.add(following)
        if written:
            self.sink(len(self.log), committed=True)

    def a_published_batch(self, data: st.DataObject) -> Batch:
        return self.published[data.draw(st.sampled_from(sorted(self.published)))]

    def fetch_page(self, batch: Batch, *, cut: bool = False) -> tuple[list[ReceivedResult], list[Batch]]:
        """Return the results of a fetch, and the batch of the next page, if there is one."""
        self.fetches += 1
        texts = sorted(self.source[batch.date])[batch.start_row : batch.start_row + LIMIT]
        page = {text: self.source[batch.date][text] for text in texts}
        self.fetched[f"fetch-{self.fetches}"] = page
        following = batch.start_row + LIMIT if len(page) == LIMIT else None
        fetch = {
            "batch": msgspec.structs.replace(batch, base=None), "fetch_id": f"fetch-{self.fetches}", "fetched_at": NOW,
            "page_rows": len(page), "next_start_row": following,
            "digest": blake2b(repr(page).encode(), digest_size=16).hexdigest(),
        }  # fmt: skip
        if batch.base and identity.base_digest(batch) == fetch["digest"]:
            results: list[Result] = [Unchanged(**fetch, base_generation=batch.base.generation)]
        else:
            parts = [texts[:1], texts[1:]] if cut else [texts]
            results = [self.chunk(fetch, page, parts, number) for number in range(len(parts))]
        place = {
            "batch_id": identity.batch_id(identity.page_of(batch)._replace(start_row=following or 0)),
            "start_row": following,
        }
        return list(map(self.received, results)), [msgspec.structs.replace(batch, **place)] if following else []

    @staticmethod
    def chunk(fetch: dict[str, Any], page: dict[str, int], parts: list[list[str]], number: int) -> Rows:
        part = parts[number]
        numbers = [float(page[text]) for text in part]
        return Rows(
            **fetch, chunk=number, chunks=len(parts), keys=(part,), clicks=numbers, impressions=numbers,
            ctr=[1.0] * len(part), position=[1.0] * len(part),
        )  # fmt: skip

    @precondition(lambda self: self.published)
    @rule(data=st.data(), state=st.sampled_from(["dead", "deferred"]))
    def a_page_is_dead_or_deferred(self, data: st.DataObject, state: Any) -> None:
        batch = self.a_published_batch(data)
        outcome = PageOutcome(batch=batch, state=state, reason="bad_request", detail="", at=NOW)
        self.log.append(self.received(outcome))

    def received(self, message: Result) -> ReceivedResult:
        self.offset += 1
        return ReceivedResult(Record("gsc.results", 0, self.offset, None, codec.encode(message), 0), message)

    # Actions of the sink and of operators

    @precondition(lambda self: len(self.log) > self.committed)
    @rule(count=st.integers(1, 6), committed=st.booleans())
    def sink(self, count: int, committed: bool) -> None:
        """Write the next results. Without the commit they are read again."""
        batch = self.log[self.committed : self.committed + count]
        self.database.write(batch)
        self.committed += len(batch) if committed else 0

    @precondition(lambda self: len(self.log) > self.committed)
    @rule(count=st.integers(1, 6))
    def the_sink_dies_in_a_transaction(self, count: int) -> None:
        self.database.write_and_roll_back(self.log[self.committed : self.committed + count])

    @precondition(lambda self: self.log)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        """Replay any part of the topic, beside the sink."""
        start = data.draw(st.integers(0, len(self.log) - 1))
        self.database.write(self.log[start : data.draw(st.integers(start, len(self.log)))], replayed=True)

    @rule()
    def redrive(self) -> None:
        for (batch_id,) in self.database.query("select batch_id from gsc.pages where state = 'dead'"):
            assert self.database.change(pages.redrive(self.database.conn, batch_id.hex))
            assert not self.database.change(pages.redrive(self.database.conn, batch_id.hex))
            del self.settled[batch_id]

    # Invariants

    @invariant()
    def no_row_becomes_older(self) -> None:
        now = self.database.generations()
        assert all(now[key] >= before for key, before in self.generations.items() if key in now)
        self.generations = now

    @invariant()
    def a_final_state_stays(self) -> None:
        """A dead page may be applied late. An unchanged one is fetched again if it shares a row with a changed one."""
        statement = "select batch_id, case when unchanged then 'unchanged' else state end from gsc.pages"
        pages = dict(self.database.query(statement))
        for batch_id, state in self.settled.items():
            if state == "dead":
                assert pages[batch_id] in ("dead", "applied", "unchanged")
            elif state != "unchanged":
                assert pages[batch_id] == state
        self.settled = {name: state for name, state in pages.items() if state not in ("pending", "published")}

    @invariant()
    def a_row_that_stays_as_it_was_is_not_touched(self) -> None:
        now = self.database.versions()
        for key, (contents, version) in self.versions.items():
            assert key not in now or now[key][0] != contents or now[key][1] == version
        self.versions = now

    @invariant()
    def a_complete_day_has_no_row_of_an_older_generation(self) -> None:
        complete = {day: generation or 0 for day, generation, _ in self.database.days()}
        assert all(generation >= complete[day] for (day, _), generation in self.database.generations().items())

    @invariant()
    def every_row_has_the_numbers_of_the_newest_generation_that_had_it(self) -> None:
        numbers: dict[tuple[date, str, int], set[float]] = {}
        for day, generation, _, fetch_id in self.database.applied_pages():
            for text, number in self.fetched[fetch_id].items():
                numbers.setdefault((day, text, generation), set()).add(number)
        table, superseded = self.database.table(), self.database.superseded()
        for (day, text), generation in self.database.generations().items():
            if generation >= superseded[day]:
                assert table[day, text] in numbers[day, text, generation]

    @invariant()
    def an_applied_page_keeps_its_ledger_row(self) -> None:
        """Another fetch of an applied page changes neither its rows nor what the ledger says about them."""
        statement = "select batch_id, rows, fetch_id from gsc.pages where state = 'applied' and not unchanged"
        pages = self.database.query(statement)
        now = {batch_id: (rows, fetch_id) for batch_id, rows, fetch_id in pages}
        assert {batch_id: now[batch_id] for batch_id in self.applied} == self.applied
        self.applied = now

    @invariant()
    def no_chunk_of_an_applied_page_is_parked(self) -> None:
        parked = self.database.query("select batch_id from gsc.parked_chunks")
        assert not {batch_id for (batch_id,) in parked} & self.applied.keys()

    @invariant()
    def an_applied_page_is_in_the_table(self) -> None:
        """Each row of a page that nothing newer has superseded: as it was fetched, or as a newer fetch has it."""
        table, generations = self.database.table(), self.database.generations()
        superseded = self.database.superseded()
        for day, generation, _, fetch_id in self.database.applied_pages():
            if generation >= superseded[day]:
                for text, number in self.fetched[fetch_id].items():
                    assert table.get((day, text)) == number or generations[day, text] >= generation

    @invariant()
    def the_table_has_the_rows_that_the_ledger_counts(self) -> None:
        """Of a complete day, the rows of all its pages.

        A day may have more rows than that when pages of a newer generation are applied, and its pages may count a row
        twice that moved from one to the other. A day is complete only while no page of its generation waits. Neither
        holds once a newer generation has found a page unchanged.
        """
        days = {day: (generation or 0, count) for day, generation, count in self.database.days()}
        counted: dict[date, int] = dict.fromkeys(days, 0)
        listed: dict[date, dict[str, set[float]]] = {day: {} for day in days}
        newest = dict.fromkeys(days, 0)
        for day, generation, count, fetch_id in self.database.applied_pages():
            assert count == len(self.fetched[fetch_id])
            newest[day] = max(newest[day], generation)
            if generation == days[day][0]:
                counted[day] += count
                for text, number in self.fetched[fetch_id].items():
                    listed[day].setdefault(text, set()).add(number)
        table, waiting = self.database.table(), self.database.days_with_waiting_pages()
        for day in days.keys() - self.database.confirmed().keys():
            generation, count = days[day]
            if generation:
                assert count == counted[day]
                assert self.database.is_complete(day) == ((day, generation) not in waiting)
            if generation and generation == newest[day]:
                assert {text for of_day, text in table if of_day == day} == listed[day].keys()
                assert all(table[day, text] in numbers for text, numbers in listed[day].items())

    def teardown(self) -> None:
        """Every result is read, one run is not disturbed, and the table and the ledger's counts are the source's."""
        try:
            self.database.write(self.log[self.committed :])
            self.plan(conditional=True)
            self.log += self.finish(self.database, since=self.generation)
            source = {(day, text): float(n) for day, texts in self.source.items() for text, n in texts.items()}
            days: list[tuple[date, int, int]] = [
                (day, self.generation, len(texts)) for day, texts in self.source.items()
            ]
            assert (self.database.table(), self.database.days()) == (source, days)
            self.an_undisturbed_run_has_no_rows(days)
            self.database.write(self.log, replayed=True)
            assert (self.database.table(), self.database.days()) == (source, days)
            empty = Database(self.runner, self.dsns[1])
            empty.write(self.log, replayed=True)
            self.finish(empty)
            assert (empty.table(), empty.days()) == (source, days)
            empty.close()
        finally:
            self.database.close()
            self.runner.close()

    def an_undisturbed_run_has_no_rows(self, days: list[tuple[date, int, int]]) -> None:
        """Repeat the last run: each page is unchanged, and no row is touched."""
        touched = "select query, date, xmin, ctid from gsc.facts order by 1, 2"
        before, unchanged = self.database.query(touched), self.database.unchanged_pages()
        self.plan(conditional=True)
        results = self.finish(self.database, since=self.generation)
        assert all(isinstance(item.message, Unchanged) for item in results)
        assert self.database.unchanged_pages() == unchanged + len(results)
        assert self.database.query(touched) == before
        assert self.database.days() == [(day, self.generation, count) for day, _, count in days]
        self.log += results
        days[:] = self.database.days()

    def finish(self, database: Database, since: int = 0) -> list[ReceivedResult]:
        """Fetch all pending pages, until there are no more; return the results."""
        log: list[ReceivedResult] = []
        while batches := database.publish(since):
            while batches:
                results, following = self.fetch_page(batches.pop())
                batches += following
                log += results
                database.write(results)
        return log


def _place(batch: Batch) -> tuple[str, int]:
    """Return what distinguishes the batches of a page: it may be published with several bases."""
    return batch.batch_id, batch.base.generation if batch.base else 0


@pytest.fixture
def dsns(servers: Servers) -> Iterator[tuple[str, str]]:
    names = ("test_exact", "test_exact_rebuilt")
    yield create_database(servers.dsn, names[0]), create_database(servers.dsn, names[1])
    for name in names:
        drop_database(servers.dsn, name)


def test_the_table_equals_the_source_after_any_sequence_of_events(dsns: tuple[str, str]) -> None:
    examples: list[Exactness] = []

    def example() -> Exactness:
        examples.append(Exactness(dsns))
        return examples[-1]

    run_state_machine_as_test(
        example,
        settings=settings(
            max_examples=50, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    assert len({len(example.log) for example in examples}) > 1  # of different lengths
