"""The schema on a real PostgreSQL: migrations, and the views of the reports."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pipeline.catalog import Catalog, Credential, Property
from pipeline.contracts.messages import ALL_ROWS, Filter, Selection
from pipeline.contracts.records import SeriesKey
from pipeline.errors import Fatal, Invalid, Retryable
from pipeline.ledger import runs
from pipeline.postgres import Connection, connect, connection
from pipeline.report import Report
from pipeline.report_views import create_report_views
from pipeline.schema import migrate, missing_migrations


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[Connection]:
    async with connection(dsn, application="test") as opened:
        await migrate(opened)
        yield opened


def a_catalog(*dimensions: str) -> Catalog:
    return Catalog(
        credentials=(Credential(id="acme", type="service_account", file=Path("x")),),
        properties=(Property(url="sc-domain:example.com", credential="acme"),),
        reports=(Report(name="by_page", dimensions=dimensions),),
    )


async def columns(conn: Connection, view: str) -> list[str]:
    cursor = await conn.execute(f"select * from {view}".encode())
    return [column.name for column in cursor.description or ()]


async def test_an_invalid_dsn_is_reported_without_its_password() -> None:
    with pytest.raises(Invalid, match="GSC_POSTGRES_DSN: ") as caught:
        await connect("postgresql://gsc:hunter2@[::1", application="test")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(Retryable, match=r"Connection refused$"):
        await connect("postgresql://gsc@127.0.0.1:1/x", application="test")


async def test_migrating_twice_changes_nothing(conn: Connection) -> None:
    assert await missing_migrations(conn) == []
    assert await migrate(conn) == []


async def test_a_view_has_the_columns_of_its_report(conn: Connection) -> None:
    await create_report_views(conn, a_catalog("date", "page", "device"))
    key = ["property", "search_type", "date", "page", "device"]
    assert await columns(conn, "gsc.by_page") == [*key, "clicks", "impressions", "ctr", "position"]


async def test_a_view_shows_only_the_rows_of_its_selection(conn: Connection) -> None:
    of_report = ("sc-domain:example.com", "by_page", "web", ("date", "page"))
    long_filter = Filter(dimension="page", operator="includingRegex", expression="x" * 4096)
    for selection in (ALL_ROWS, Selection(row_limit=5), Selection(filters=(long_filter,))):
        number = await runs.series_number(conn, SeriesKey(*of_report, selection))
        assert number == await runs.series_number(conn, SeriesKey(*of_report, selection))
        await conn.execute("select gsc.ensure_month(date '2026-03-01')")
        await conn.execute(
            "insert into gsc.facts"
            " (series, date, key, generation, clicks, impressions, ctr, position, page, page_number)"
            " values (%s, date '2026-03-01', gen_random_uuid(), 1, %s, 9, 0, 1, 'p', 0)",
            (number, selection.row_limit or len(selection.filters)),
        )
    catalog = a_catalog("date", "page")
    for limit, clicks in ((None, 0), (5, 5)):
        report = Report(name="by_page", dimensions=("date", "page"), row_limit=limit)
        await create_report_views(conn, Catalog.model_construct(**{**dict(catalog), "reports": (report,)}))
        assert await (await conn.execute("select clicks from gsc.by_page")).fetchall() == [(clicks,)]


async def test_dependent_views_stay_while_the_columns_stay(conn: Connection) -> None:
    await create_report_views(conn, a_catalog("date", "page"))
    await conn.execute("create view public.mine as select page, clicks from gsc.by_page")
    await create_report_views(conn, a_catalog("date", "page"))
    assert await columns(conn, "public.mine") == ["page", "clicks"]
    with pytest.raises(Fatal, match="depend"):
        await create_report_views(conn, a_catalog("date", "query"))
    await conn.execute("drop view public.mine")
    await create_report_views(conn, a_catalog("date", "query"))
    assert "query" in await columns(conn, "gsc.by_page")
