"""What reports no longer keep, on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from pipeline import retention as retention_module
from pipeline.catalog import Catalog, Credential, Property
from pipeline.contracts import codec
from pipeline.contracts.records import Record
from pipeline.ledger import runs
from pipeline.postgres import Connection, connection
from pipeline.report import Report
from pipeline.retention import Deleted, delete_old, delete_superseded
from pipeline.schema import migrate
from sink.assembly import ReceivedResult
from sink.writer import Writer
from support.examples import NOW, a_batch, some_rows

TODAY = date(2026, 3, 10)
OLD, YOUNG = TODAY - timedelta(days=60), TODAY - timedelta(days=3)


def a_catalog(**retention: int | None) -> Catalog:
    return Catalog(
        credentials=(Credential(id="acme", type="service_account", file=Path("x")),),
        properties=(Property(url="sc-domain:example.com", credential="acme"),),
        reports=tuple(
            Report(name=name, dimensions=("date", "query", "page"), retention=days) for name, days in retention.items()
        ),
    )


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[Connection]:
    async with connection(dsn, application="test") as opened:
        await migrate(opened)
        writer = Writer(opened, delete_ratio=0.5)
        messages = [
            some_rows(a_batch(report=report, date=day), ["a", "b"])
            for report in ("short", "long")
            for day in (OLD, YOUNG)
        ]
        received = [ReceivedResult(Record("t", 0, n, None, codec.encode(m), 0), m) for n, m in enumerate(messages)]
        await runs.restore_runs(opened, (item.message.batch for item in received), NOW)
        await writer.write(received)
        yield opened


async def count(conn: Connection, table: str) -> dict[str, int]:
    found = await conn.execute(
        f"select s.report, count(*) from gsc.{table} join gsc.series s using (series) group by 1".encode()
    )
    return dict(await found.fetchall())


async def test_each_report_has_its_own_retention(conn: Connection) -> None:
    catalog = a_catalog(short=10, long=None)
    assert await delete_old(conn, catalog, TODAY, dry_run=True) == Deleted(rows=2)
    assert await count(conn, "facts") == {"short": 4, "long": 4}
    assert await delete_old(conn, catalog, TODAY) == Deleted(rows=2, pages=1, months=0)
    for table, kept in (("facts", {"short": 2, "long": 4}), ("pages", {"short": 1, "long": 2})):
        assert await count(conn, table) == kept
    assert await count(conn, "days") == {"short": 1, "long": 2}
    assert await delete_old(conn, catalog, TODAY) == Deleted()


async def test_chunks_of_finished_pages_are_deleted_after_a_day_and_others_after_a_month(conn: Connection) -> None:
    for days, number in ((0, 0), (2, 1), (2, None), (31, None)):
        finished = f"(select batch_id from gsc.pages order by 1 offset {number} limit 1)"
        page = "gen_random_uuid()" if number is None else finished
        await conn.execute(
            f"insert into gsc.parked_chunks values ({page}, '{days}', 0, '',"
            f" now() - interval '{days} days 1 hour')".encode()
        )
    await delete_old(conn, a_catalog(short=None, long=None), TODAY)
    left = await (await conn.execute("select fetch_id from gsc.parked_chunks order by 1")).fetchall()
    assert left == [("0",), ("2",)]


async def test_a_month_that_is_read_delays_no_insert_and_is_kept(
    conn: Connection, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_module, "LOCK_ATTEMPTS", 3)
    catalog = a_catalog(short=10, long=30)
    async with connection(dsn, application="reader") as reader, connection(dsn, application="sink") as sink:
        async with reader.transaction():
            await reader.execute("select count(*) from gsc.facts")
            deleting = asyncio.create_task(delete_old(conn, catalog, TODAY))
            await sink.execute("set lock_timeout = '5s'")
            while not deleting.done():
                await sink.execute("insert into gsc.facts select 1, %s, gen_random_uuid(), 1, 1, 1, 1, 1, 0", (YOUNG,))
            deleted = await deleting
        assert deleted == Deleted(rows=4, pages=2, months=0)
        assert await delete_old(conn, catalog, TODAY) == Deleted(months=1)


async def test_months_that_no_report_keeps_are_dropped(conn: Connection) -> None:
    deleted = await delete_old(conn, a_catalog(short=10, long=30), TODAY)
    assert deleted == Deleted(rows=4, pages=2, months=1)
    months = await (
        await conn.execute("select relname from pg_class where relname like 'facts\\_2%%' and relkind = 'r'", ())
    ).fetchall()
    assert months == [("facts_2026_03",)]
    row = await (await conn.execute("select gsc.ensure_month(%s)", (OLD,))).fetchone()  # and can be made again
    assert row is not None


async def test_superseded_pages_are_deleted_and_what_exactness_needs_is_kept(conn: Connection) -> None:
    """Generation 7 has completed one day, and not the other."""
    writer = Writer(conn, delete_ratio=0.5)
    young = a_batch(report="short", date=YOUNG, generation=7, run_id="run-7")
    old = a_batch(report="short", date=OLD, generation=7, run_id="run-7", row_limit=1)
    messages = [some_rows(young, ["a", "b"]), some_rows(old, ["a"], next_start_row=1)]
    received = [ReceivedResult(Record("t", 0, 9, None, codec.encode(m), 0), m) for m in messages]
    await runs.restore_runs(conn, (item.message.batch for item in received), NOW)
    await writer.write(received)
    kept = "select s.report, p.date, p.generation, p.state from gsc.pages p join gsc.series s using (series)"
    before = set(await (await conn.execute(kept.encode())).fetchall())
    assert await delete_superseded(conn, days=1) == 0
    assert await delete_superseded(conn, days=0) == 1
    after = set(await (await conn.execute(kept.encode())).fetchall())
    assert before - after == {("short", YOUNG, 5, "applied")}
    assert {("short", OLD, 5, "applied"), ("short", OLD, 7, "published")} <= after
    assert await count(conn, "facts") == {"short": 4, "long": 4}
    # An old result that arrives again neither fails nor changes a row.
    again = some_rows(a_batch(report="short", date=YOUNG), ["x"], fetch_id="again")
    assert (await writer.write([ReceivedResult(Record("t", 0, 10, None, codec.encode(again), 0), again)])).written == 0
