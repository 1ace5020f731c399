"""The schema `gsc`: migrations, and the view of every report."""

from collections.abc import Mapping
from importlib.resources import files

import msgspec
from psycopg import errors, sql

from pipeline.catalog import Catalog, Report
from pipeline.contracts.reports import value_dimensions
from pipeline.postgres import MIGRATION_LOCK, Connection, database_errors

COLUMN_OF_DIMENSION: Mapping[str, str] = {
    "query": "query",
    "page": "page",
    "country": "country",
    "device": "device",
    "searchAppearance": "search_appearance",
    "hour": "hour",
}


def _migrations() -> list[tuple[str, str]]:
    folder = files("pipeline").joinpath("migrations")
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".sql"))
    return [(name, folder.joinpath(name).read_text(encoding="utf-8")) for name in names]


async def migrate(conn: Connection) -> list[str]:
    """Apply missing migrations in one transaction; returns their names."""
    async with database_errors(), conn.transaction():
        await conn.execute("select pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
        await conn.execute("create schema if not exists gsc")
        await conn.execute(
            "create table if not exists gsc.migrations"
            " (name text primary key, applied_at timestamptz not null default now())"
        )
        missing = await _missing(conn)
        for name, text in missing:
            await conn.execute(text.encode())  # a file of the package
            await conn.execute("insert into gsc.migrations (name) values (%s)", (name,))
    return [name for name, _ in missing]


async def missing_migrations(conn: Connection) -> list[str]:
    """Return the names of missing migrations."""
    async with database_errors():
        row = await (await conn.execute("select to_regclass('gsc.migrations') is not null")).fetchone()
        if not row or not row[0]:
            return [name for name, _ in _migrations()]
        return [name for name, _ in await _missing(conn)]


async def _missing(conn: Connection) -> list[tuple[str, str]]:
    applied = {row[0] async for row in await conn.execute("select name from gsc.migrations")}
    return [(name, text) for name, text in _migrations() if name not in applied]


async def create_report_views(conn: Connection, catalog: Catalog) -> None:
    """Create or replace the view `gsc.<report>` of every report of the catalog."""
    async with database_errors(), conn.transaction():
        await conn.execute("select pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
        for report in catalog.reports:
            await _replace_view(conn, report)


async def _replace_view(conn: Connection, report: Report) -> None:
    view = sql.Identifier("gsc", report.name)
    statement = _view(view, report)
    try:
        async with conn.transaction():  # replaced in place, to keep grants and dependent views
            await conn.execute(statement)
    except errors.InvalidTableDefinition:  # the columns have changed
        await conn.execute(sql.SQL("drop view {}").format(view))
        await conn.execute(statement)


def _view(view: sql.Identifier, report: Report) -> sql.Composed:
    columns = [sql.Identifier("f", COLUMN_OF_DIMENSION[name]) for name in value_dimensions(report.dimensions)]
    return sql.SQL(
        "create or replace view {view} as select {columns} from gsc.facts f join gsc.series s using (series)"
        " where s.report = {report} and s.dimensions = {dimensions}"
        " and s.selection = {selection}"
    ).format(
        view=view,
        columns=sql.SQL(", ").join(
            [
                sql.SQL("s.property, s.search_type, f.date"),
                *columns,
                sql.SQL("f.clicks, f.impressions, f.ctr, f.position"),
            ]
        ),
        report=sql.Literal(report.name),
        dimensions=sql.Literal(list(report.dimensions)),
        selection=sql.Literal(msgspec.json.encode(report.selection).decode()),
    )
