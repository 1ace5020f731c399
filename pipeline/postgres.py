"""The one door to psycopg: connections, retries, named queries, migrations.

Everything is asynchronous. Server-side faults become `Retryable` where trying again can help.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import LiteralString, cast

import psycopg
from psycopg import AsyncConnection, errors, sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from pipeline.catalog import Catalog, Report
from pipeline.contracts.reports import value_dimensions
from pipeline.errors import Fatal, Invalid, Retryable

Connection = AsyncConnection[TupleRow]

CONNECT_TIMEOUT_S = 10
_MIGRATION_LOCK = 0x67736301  # advisory locks share one number space in a database: "gsc" and a number
PUBLISHER_LOCK = 0x67736302
"""Who holds it is the one planner that publishes."""

COLUMN_OF_DIMENSION: Mapping[str, str] = {
    "query": "query",
    "page": "page",
    "country": "country",
    "device": "device",
    "searchAppearance": "search_appearance",
    "hour": "hour",
}


async def connect(dsn: str, *, application: str, autocommit: bool = True) -> Connection:
    """Open one connection. Raises Retryable when the server cannot be reached, Invalid when the DSN is wrong."""
    try:
        conninfo_to_dict(dsn)
        return await AsyncConnection.connect(
            dsn, autocommit=autocommit, application_name=application, connect_timeout=CONNECT_TIMEOUT_S
        )
    except psycopg.ProgrammingError as error:
        # libpq quotes what it cannot read, and a password may be in it.
        raise Invalid(_one_line(error).replace(dsn, "***"), field="GSC_POSTGRES_DSN") from error
    except psycopg.OperationalError as error:
        raise Retryable(f"PostgreSQL: {_one_line(error)}") from error


@asynccontextmanager
async def connection(dsn: str, *, application: str) -> AsyncIterator[Connection]:
    """A connection in autocommit mode for the length of a block; `conn.transaction()` groups statements."""
    opened = await connect(dsn, application=application)
    async with opened:
        yield opened


@asynccontextmanager
async def told_as_flows() -> AsyncIterator[None]:
    """Turn psycopg's errors into flows.

    Retryable: lost connection, deadlock, shutting down. Invalid: a value that no column takes. Fatal: all others.
    """
    try:
        yield
    except psycopg.Error as error:
        if is_transient(error):
            raise Retryable(f"PostgreSQL: {_one_line(error)}") from error
        if isinstance(error, psycopg.DataError):
            raise Invalid(f"PostgreSQL: {_one_line(error)}") from error
        raise Fatal(f"PostgreSQL: {_one_line(error)}") from error


_TRANSIENT = (
    errors.DeadlockDetected,  # 40P01
    errors.SerializationFailure,  # 40001
    errors.LockNotAvailable,
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.TooManyConnections,
    errors.DiskFull,
    errors.UniqueViolation,  # two writers made the same at once: the second finds it when it tries again
)


def is_transient(error: psycopg.Error) -> bool:
    """Whether the same statement may succeed later."""
    if isinstance(error, _TRANSIENT):
        return True
    # A connection that breaks carries no SQLSTATE, or one of class 08.
    return isinstance(error, psycopg.OperationalError) and (error.sqlstate or "08").startswith("08")


def queries(package: str, file: str) -> Mapping[str, LiteralString]:
    """The statements of a `.sql` file, by the name in the comment `-- name: NAME` above each."""
    text = files(package).joinpath(file).read_text(encoding="utf-8")
    parts = re.split(r"^-- name: *(\w+) *$", text, flags=re.MULTILINE)[1:]
    # The text is part of the package, as literal as if it stood in the module.
    return {name: cast("LiteralString", body.strip()) for name, body in zip(parts[::2], parts[1::2], strict=True)}


def _migrations() -> list[tuple[str, str]]:
    folder = files("pipeline").joinpath("migrations")
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".sql"))
    return [(name, folder.joinpath(name).read_text(encoding="utf-8")) for name in names]


async def migrate(conn: Connection) -> list[str]:
    """Apply the migrations that the database lacks, in one transaction; returns their names."""
    async with told_as_flows(), conn.transaction():
        await conn.execute("select pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
        await conn.execute("create schema if not exists gsc")
        await conn.execute(
            "create table if not exists gsc.migrations"
            " (name text primary key, applied_at timestamptz not null default now())"
        )
        missing = await _missing(conn)
        for name, text in missing:
            await conn.execute(text.encode())  # files of the package, not composed
            await conn.execute("insert into gsc.migrations (name) values (%s)", (name,))
    return [name for name, _ in missing]


async def missing_migrations(conn: Connection) -> list[str]:
    """Names of the migrations that the database lacks: a service that starts before them says so."""
    async with told_as_flows():
        row = await (await conn.execute("select to_regclass('gsc.migrations') is not null")).fetchone()
        if not row or not row[0]:
            return [name for name, _ in _migrations()]
        return [name for name, _ in await _missing(conn)]


async def _missing(conn: Connection) -> list[tuple[str, str]]:
    applied = {row[0] async for row in await conn.execute("select name from gsc.migrations")}
    return [(name, text) for name, text in _migrations() if name not in applied]


async def create_report_views(conn: Connection, catalog: Catalog) -> None:
    """Make the view `gsc.<report>` of every report of the catalog, as the catalog has it now."""
    async with told_as_flows(), conn.transaction():
        await conn.execute("select pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
        for report in catalog.reports:
            await _replace_view(conn, report)


async def _replace_view(conn: Connection, report: Report) -> None:
    view = sql.Identifier("gsc", report.name)
    made = _view(view, report.name, report.dimensions)
    try:
        async with conn.transaction():  # in place: somebody's views and grants may stand on it
            await conn.execute(made)
    except errors.InvalidTableDefinition:  # its columns have changed
        await conn.execute(sql.SQL("drop view {}").format(view))
        await conn.execute(made)


def _view(view: sql.Identifier, report: str, dimensions: tuple[str, ...]) -> sql.Composed:
    columns = [sql.Identifier("f", COLUMN_OF_DIMENSION[name]) for name in value_dimensions(dimensions)]
    return sql.SQL(
        "create or replace view {view} as select {columns} from gsc.facts f join gsc.series s using (series)"
        " where s.report = {report} and s.dimensions = {dimensions}"
    ).format(
        view=view,
        columns=sql.SQL(", ").join(
            [
                sql.SQL("s.property, s.search_type, f.date"),
                *columns,
                sql.SQL("f.clicks, f.impressions, f.ctr, f.position"),
            ]
        ),
        report=sql.Literal(report),
        dimensions=sql.Literal(list(dimensions)),
    )


def _one_line(error: Exception) -> str:
    """What the server or libpq says, without libpq's question to whoever reads it."""
    lines = map(str.strip, str(error).splitlines())
    told = [line for line in lines if not line.startswith("Is the server running")]
    return " ".join(filter(None, told)) or type(error).__name__
