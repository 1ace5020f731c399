"""The views for readers, on a real PostgreSQL: freshness, coverage, the bulk export's, and comments."""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.catalog import Catalog, Credential, Property
from pipeline.contracts.messages import Selection
from pipeline.contracts.records import SeriesKey
from pipeline.ledger import runs
from pipeline.postgres import Connection, connection
from pipeline.report import DEFAULT_REPORTS, Report
from pipeline.report_views import create_report_views
from pipeline.schema import migrate
from support.ledger import create_ledger

SITE = "sc-domain:a.example"
DAY = date(2026, 3, 10)
WIDE = ("date", "query", "page", "country", "device")
REPORTS = (
    Report(name="by_date", dimensions=("date",)),
    Report(name="page_query", dimensions=WIDE),
    Report(name="queries", dimensions=("date", "query", "country", "device")),
    Report(name="hourly", dimensions=("date", "hour"), data_state="hourly_all"),
    Report(name="appearances", dimensions=("searchAppearance",)),
)


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[Connection]:
    async with connection(dsn, application="test") as opened:
        await create_ledger(opened)
        await opened.execute("select gsc.ensure_month(%s)", (DAY,))
        await create_report_views(opened, a_catalog())
        yield opened


def a_catalog() -> Catalog:
    return Catalog(
        credentials=(Credential(id="acme", type="service_account", file=Path("x")),),
        properties=(Property(url=SITE, credential="acme"),),
        reports=REPORTS,
    )


async def rows(conn: Connection, statement: str) -> list[tuple[Any, ...]]:
    return await (await conn.execute(statement.encode())).fetchall()


async def series(conn: Connection, report: str, dimensions: tuple[str, ...], **selection: Any) -> int:
    return await runs.series_number(conn, SeriesKey(SITE, report, "web", dimensions, Selection(**selection)))


async def complete(conn: Connection, number: int, day: date) -> None:
    await conn.execute(
        "insert into gsc.days (series, date, complete_generation, completed_at) values (%s, %s, 1, now())",
        (number, day),
    )


async def add_page(conn: Connection, number: int, day: date, state: str, reason: str | None = None) -> None:
    await conn.execute(
        "insert into gsc.pages (batch_id, run_id, generation, series, date, start_row, row_limit, data_state,"
        " credential, priority, state, reason)"
        " values (gen_random_uuid(), 'run-1', 1, %s, %s, 0, 25000, 'final', 'acme', 'backfill', %s, %s)",
        (number, day, state, reason),
    )


async def add_fact(conn: Connection, number: int, clicks: int, impressions: int, **columns: str) -> None:
    names = "".join(f", {name}" for name in columns)
    await conn.execute(
        f"insert into gsc.facts (series, date, key, generation, clicks, impressions, ctr, position, page_number{names})"
        f" values (%s, %s, gen_random_uuid(), 1, %s, %s, 0, 3.5, 0{', %s' * len(columns)})".encode(),
        (number, DAY, clicks, impressions, *columns.values()),
    )


@pytest.mark.parametrize(
    ("pages", "why"),
    [
        ([], "not requested"),
        ([("pending", None)], "waiting"),
        ([("pending", "budget")], "waiting: budget"),
        ([("published", None)], "waiting"),
        ([("applied", None)], "not published by Google"),
        ([("cancelled", "cancelled")], "cancelled"),
        ([("dead", "permission")], "dead: permission"),
    ],
)
async def test_freshness_has_the_newest_complete_day_and_why_it_is_not_newer(
    conn: Connection, pages: list[tuple[str, str | None]], why: str
) -> None:
    number = await series(conn, "by_date", ("date",))
    for age in (3, 2, 1):
        await complete(conn, number, DAY - timedelta(days=age))
        await add_page(conn, number, DAY - timedelta(days=age), "applied")
    for state, reason in pages:
        await add_page(conn, number, DAY, state, reason)
    found = await rows(conn, "select property, report, search_type, newest_complete_day, next_day, why_not_newer"
                             " from gsc.freshness")  # fmt: skip
    assert found == [(SITE, "by_date", "web", DAY - timedelta(days=1), DAY if pages else None, why)]


async def test_freshness_of_a_report_that_has_changed_is_that_of_its_present_definition(conn: Connection) -> None:
    old = await series(conn, "by_date", ("date", "country"))
    await complete(conn, old, DAY - timedelta(days=1))
    await add_page(conn, old, DAY - timedelta(days=1), "applied")
    await add_page(conn, await series(conn, "by_date", ("date",), row_limit=3), DAY, "pending")
    found = await rows(conn, "select newest_complete_day, why_not_newer from gsc.freshness")
    assert found == [(None, "waiting")]


async def test_coverage_compares_rows_with_the_totals_of_their_day(conn: Connection) -> None:
    total, wide = await series(conn, "by_date", ("date",)), await series(conn, "page_query", WIDE)
    filtered = await series(conn, "top", ("date", "query"), row_limit=1)
    await add_fact(conn, total, 10, 100)
    await add_fact(conn, filtered, 1, 1, query="a")
    for number in range(3):
        await add_fact(conn, wide, 2, 20, query="q", page=f"p{number}", country="jpn", device="MOBILE")
    await conn.execute("insert into gsc.days (series, date, truncated) values (%s, %s, true)", (wide, DAY))
    assert await rows(conn, "select property, report, date, rows, clicks, total_clicks, clicks_share, impressions,"
                            " total_impressions, impressions_share, truncated from gsc.coverage") == [
        (SITE, "page_query", DAY, 3, 6, 10, 0.6, 60, 100, 0.6, True)
    ]  # fmt: skip


async def test_views_of_the_bulk_export_have_its_columns_and_types(conn: Connection) -> None:
    queries = await series(conn, "queries", REPORTS[2].dimensions)
    await add_fact(conn, queries, 2, 20, query="q", country="jpn", device="MOBILE")
    await add_fact(
        conn, await series(conn, "page_query", WIDE), 1, 3, query="q", page="p", country="jpn", device="TABLET"
    )
    assert await rows(conn, "select * from gsc.searchdata_site_impression") == [
        (DAY, SITE, "q", False, "jpn", "WEB", "MOBILE", 20, 2, 50)
    ]
    assert await rows(conn, "select * from gsc.searchdata_url_impression") == [
        (DAY, SITE, "p", "q", False, False, "jpn", "WEB", "TABLET", 3, 1, 8)
    ]
    types = await rows(
        conn,
        "select distinct data_type from information_schema.columns"
        " where table_name like 'searchdata%' and column_name in ('clicks', 'impressions', 'sum_top_position')",
    )
    assert types == [("bigint",)]


async def test_every_view_and_each_of_its_columns_has_a_comment(conn: Connection) -> None:
    without = await rows(
        conn,
        "select c.relname, a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum >= 0"
        " where c.relnamespace = 'gsc'::regnamespace and c.relkind = 'v'"
        " and (col_description(c.oid, a.attnum) is null or obj_description(c.oid, 'pg_class') is null)",
    )
    assert without == []
    views = await rows(conn, "select count(*) from pg_class where relnamespace = 'gsc'::regnamespace and relkind = 'v'")
    assert views == [(len(REPORTS) + 4,)]


async def test_the_views_may_be_created_again(conn: Connection) -> None:
    await create_report_views(conn, a_catalog())
    assert await migrate(conn) == []


async def test_the_dbt_source_has_the_views_of_the_default_reports_with_their_comments(conn: Connection) -> None:
    path = Path(__file__).parents[2] / "docs" / "dbt" / "gsc_stream.yml"
    [source] = yaml.safe_load(path.read_text())["sources"]
    listed = {
        (table["name"], table["description"], column["name"], column["description"])
        for table in source["tables"]
        for column in table["columns"]
    }
    created = Catalog.model_construct(**{**dict(a_catalog()), "reports": DEFAULT_REPORTS})
    await conn.execute("drop view gsc.by_date, gsc.page_query, gsc.queries, gsc.hourly, gsc.appearances")
    await conn.execute("drop view gsc.searchdata_site_impression, gsc.searchdata_url_impression")
    await create_report_views(conn, created)
    assert listed == set(
        await rows(
            conn,
            "select c.relname, obj_description(c.oid, 'pg_class'), a.attname, col_description(c.oid, a.attnum)"
            " from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0"
            " where c.relnamespace = 'gsc'::regnamespace and c.relkind = 'v'",
        )
    )
