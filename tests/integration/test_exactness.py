"""The table equals the source after any sequence of events: a stateful test of the sink on a real PostgreSQL.

The state machine plans runs, fetches pages once or several times, loses transactions and commits, replays results, and
dead-letters and redrives pages, while the source changes. Rows move between pages, appear on two, and vanish. A row
never gets an older generation, a row that stays as it was is not touched, a page keeps its final state, and the ledger
counts the rows of the table. After one undisturbed run the table equals the source, and so does an empty database after
a replay of all results.
"""

import asyncio
import uuid
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

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
from pipeline.contracts import codec
from pipeline.contracts.messages import Batch, PageOutcome, Rows
from pipeline.contracts.records import Record
from pipeline.ledger import pages, runs
from pipeline.postgres import Connection, connect
from pipeline.schema import migrate
from sink.assembly import ReceivedResult
from sink.writer import Writer
from support.examples import DAY, NOW, a_batch

LIMIT = 2  # rows of a page
DAYS = [DAY + timedelta(days=number) for number in range(2)]
_GENERATIONS = """
    select date, query, greatest(generation, (
        select max(p.generation) from gsc.pages p
        where (p.series, p.date, p.start_row / p.row_limit) = (f.series, f.date, f.page_number) and p.state = 'applied'
    )) from gsc.facts f
"""
rows = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 9), max_size=5)


class ProcessDied(Exception):
    """The process died during a transaction."""


class Database:
    """A migrated database and a writer, for synchronous code."""

    def __init__(self, runner: "asyncio.Runner", dsn: str) -> None:
        self.run = runner.run
        self.conn: Connection = self.run(connect(dsn, application="test"))
        self.run(migrate(self.conn))
        self.run(self.execute("truncate gsc.runs, gsc.pages, gsc.days, gsc.series, gsc.facts, gsc.parked_chunks"))
        self.writer = Writer(self.conn, delete_ratio=1.0)

    async def execute(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        cursor = await self.conn.execute(statement.encode(), parameters or None)
        return await cursor.fetchall() if cursor.description else []

    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.run(self.execute(statement, *parameters))

    def write(self, received: list[ReceivedResult], *, replayed: bool = False) -> None:
        async def work() -> None:
            if replayed:
                await runs.restore_runs(self.conn, (item.message.batch for item in received), NOW)
            await self.writer.write(received)

        if received:
            self.run(work())

    def write_and_roll_back(self, received: list[ReceivedResult]) -> None:
        """Write, and lose the process before the transaction is committed."""

        async def work() -> None:
            async with self.conn.transaction():
                await self.writer.write(received)
                raise ProcessDied

        with pytest.raises(ProcessDied):
            self.run(work())
        self.writer = Writer(self.conn, delete_ratio=1.0)  # the next process has a new one

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

    def is_complete(self, day: date) -> bool:
        return self.query("select completed_at is not null from gsc.days where date = %s", day) == [(True,)]

    def applied_pages(self) -> list[tuple[Any, ...]]:
        """(date, generation, rows, fetch id)."""
        return self.query("select date, generation, rows, fetch_id from gsc.pages where state = 'applied'")

    def days_with_waiting_pages(self) -> set[tuple[Any, ...]]:
        """(date, generation) of the pages that are not applied."""
        return set(self.query("select date, generation from gsc.pages where state <> 'applied'"))

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
        self.generation = 0
        self.published: dict[str, Batch] = {}
        self.generations: dict[tuple[date, str], int] = {}
        self.versions: dict[tuple[date, str], tuple[tuple[Any, ...], tuple[Any, ...]]] = {}
        self.settled: dict[Any, str] = {}
        self.applied: dict[Any, tuple[int, str]] = {}
        self.fetched: dict[str, dict[str, int]] = {}

    # Events

    @initialize(first=rows, second=rows)
    def begin(self, first: dict[str, int], second: dict[str, int]) -> None:
        self.source = dict(zip(DAYS, (first, second), strict=True))
        self.plan()
        self.plan()

    @rule(day=st.sampled_from(DAYS), now=rows)
    def google_revises_a_day(self, day: date, now: dict[str, int]) -> None:
        self.source[day] = now

    @rule()
    def plan(self) -> None:
        """Plan a run of both days, with a newer generation."""
        self.generation += 1
        number = self.generation
        self.database.query(
            "insert into gsc.runs values (%s, %s, %s, 'backfill', '{}', now())", f"run-{number}", f"r-{number}", number
        )
        for day in DAYS:
            batch = a_batch(
                generation=number, run_id=f"run-{number}", date=day, row_limit=LIMIT, dimensions=("date", "query")
            )
            self.published[batch.batch_id] = batch

    @precondition(lambda self: self.published)
    @rule(data=st.data(), cut=st.booleans(), written=st.booleans())
    def fetch(self, data: st.DataObject, cut: bool, written: bool) -> None:
        """Fetch a page, for the first time or again; publish the next page of a full one."""
        batch = data.draw(st.sampled_from(sorted(self.published.values(), key=lambda item: item.batch_id)))
        self.fetch_page(batch, cut=cut)
        if written:
            self.sink(len(self.log), committed=True)

    def fetch_page(self, batch: Batch, *, cut: bool = False) -> None:
        self.fetches += 1
        texts = sorted(self.source[batch.date])[batch.start_row : batch.start_row + LIMIT]
        self.fetched[f"fetch-{self.fetches}"] = {text: self.source[batch.date][text] for text in texts}
        following = batch.start_row + LIMIT if len(texts) == LIMIT else None
        parts = [texts[:1], texts[1:]] if cut else [texts]
        for number, part in enumerate(parts):
            numbers = [float(self.source[batch.date][text]) for text in part]
            self.append(
                Rows(
                    batch=batch, fetch_id=f"fetch-{self.fetches}", fetched_at=NOW, chunk=number, chunks=len(parts),
                    page_rows=len(texts), next_start_row=following, keys=(list(part),), clicks=numbers,
                    impressions=numbers, ctr=[1.0] * len(part), position=[1.0] * len(part),
                )
            )  # fmt: skip
        if following is not None:
            after = a_batch(
                generation=batch.generation, run_id=batch.run_id, date=batch.date, row_limit=LIMIT,
                dimensions=batch.dimensions, start_row=following,
            )  # fmt: skip
            self.published[after.batch_id] = after

    @precondition(lambda self: self.published)
    @rule(data=st.data(), state=st.sampled_from(["dead", "deferred"]))
    def a_page_is_dead_or_deferred(self, data: st.DataObject, state: Any) -> None:
        batch = data.draw(st.sampled_from(sorted(self.published.values(), key=lambda item: item.batch_id)))
        self.append(PageOutcome(batch=batch, state=state, reason="bad_request", detail="", at=NOW))

    def append(self, message: Rows | PageOutcome) -> None:
        record = Record("gsc.results", 0, len(self.log), None, codec.encode(message), 0)
        self.log.append(ReceivedResult(record, message))

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
            assert self.database.run(pages.redrive(self.database.conn, batch_id.hex))
            assert not self.database.run(pages.redrive(self.database.conn, batch_id.hex))
            del self.settled[batch_id]

    # Invariants

    @invariant()
    def no_row_becomes_older(self) -> None:
        now = self.database.generations()
        assert all(now[key] >= before for key, before in self.generations.items() if key in now)
        self.generations = now

    @invariant()
    def a_final_state_stays(self) -> None:
        pages = dict(self.database.query("select batch_id, state from gsc.pages"))
        for batch_id, state in self.settled.items():
            assert pages[batch_id] == state or (state, pages[batch_id]) == ("dead", "applied")
        self.settled = {name: state for name, state in pages.items() if state in ("applied", "dead", "cancelled")}

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
        table = self.database.table()
        for (day, text), generation in self.database.generations().items():
            assert table[day, text] in numbers[day, text, generation]

    @invariant()
    def an_applied_page_keeps_its_ledger_row(self) -> None:
        """Another fetch of an applied page changes neither its rows nor what the ledger says about them."""
        pages = self.database.query("select batch_id, rows, fetch_id from gsc.pages where state = 'applied'")
        now = {batch_id: (rows, fetch_id) for batch_id, rows, fetch_id in pages}
        assert {batch_id: now[batch_id] for batch_id in self.applied} == self.applied
        self.applied = now

    @invariant()
    def no_chunk_of_an_applied_page_is_parked(self) -> None:
        parked = self.database.query("select batch_id from gsc.parked_chunks")
        assert not {batch_id for (batch_id,) in parked} & self.applied.keys()

    @invariant()
    def the_table_has_the_rows_that_the_ledger_counts(self) -> None:
        """The table has the rows of each applied page's fetch in the ledger, and a complete day those of all its pages.

        A day may have more rows than that when pages of a newer generation are applied, and its pages may count a row
        twice that moved from one to the other. A day is complete only while no page of its generation waits.
        """
        table = self.database.generations()
        days = {day: (generation or 0, count) for day, generation, count in self.database.days()}
        counted: dict[date, int] = dict.fromkeys(days, 0)
        listed: dict[date, set[str]] = {day: set() for day in days}
        newest = dict.fromkeys(days, 0)
        waiting = self.database.days_with_waiting_pages()
        for day, generation, count, fetch_id in self.database.applied_pages():
            texts = self.fetched[fetch_id]
            assert count == len(texts)
            newest[day] = max(newest[day], generation)
            if generation >= days[day][0]:
                assert all(table.get((day, text), 0) >= generation for text in texts)
            if generation == days[day][0]:
                counted[day] += count
                listed[day] |= texts.keys()
        for day, (generation, count) in days.items():
            if generation:
                assert count == counted[day]
                assert self.database.is_complete(day) == ((day, generation) not in waiting)
            if generation and generation == newest[day]:
                assert {text for of_day, text in table if of_day == day} == listed[day]

    def teardown(self) -> None:
        """Every result is read, one run is not disturbed, and the table and the ledger's counts are the source's."""
        try:
            self.published.clear()
            self.plan()
            while self.published:
                self.fetch_page(self.published.pop(min(self.published)))
            self.database.write(self.log[self.committed :])
            source = {(day, text): float(n) for day, texts in self.source.items() for text, n in texts.items()}
            days = [(day, self.generation, len(texts)) for day, texts in self.source.items()]
            assert (self.database.table(), self.database.days()) == (source, days)
            self.database.write(self.log, replayed=True)
            assert (self.database.table(), self.database.days()) == (source, days)
            empty = Database(self.runner, self.dsns[1])
            empty.write(self.log, replayed=True)
            assert (empty.table(), empty.days()) == (source, days)
            empty.close()
        finally:
            self.database.close()
            self.runner.close()


@pytest.fixture
def dsns(servers: Servers) -> Iterator[tuple[str, str]]:
    names = [f"test_{uuid.uuid4().hex}" for _ in range(2)]
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
