"""PostgreSQL: connections, mapping of errors to `pipeline.errors`, and named statements."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import LiteralString, cast

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from pipeline.errors import Fatal, Invalid, Retryable

Connection = AsyncConnection[TupleRow]

CONNECT_TIMEOUT_S = 10
# All advisory locks of a database share one number space; these are "gsc" and a number.
MIGRATION_LOCK = 0x67736301
PUBLISHER_LOCK = 0x67736302
"""Its holder is the one producer that publishes."""


async def connect(dsn: str, *, application: str, autocommit: bool = True) -> Connection:
    """Open a connection. Raises Retryable when the server cannot be reached, Invalid when the DSN is wrong."""
    try:
        conninfo_to_dict(dsn)
        return await AsyncConnection.connect(
            dsn, autocommit=autocommit, application_name=application, connect_timeout=CONNECT_TIMEOUT_S
        )
    except psycopg.ProgrammingError as error:
        # libpq quotes what it cannot parse, which may contain a password.
        raise Invalid(_one_line(error).replace(dsn, "***"), field="GSC_POSTGRES_DSN") from error
    except psycopg.OperationalError as error:
        raise Retryable(f"PostgreSQL: {_one_line(error)}") from error


@asynccontextmanager
async def connection(dsn: str, *, application: str) -> AsyncIterator[Connection]:
    """Open a connection in autocommit mode for the length of a block; `conn.transaction()` groups statements."""
    opened = await connect(dsn, application=application)
    async with opened:
        yield opened


@asynccontextmanager
async def database_errors() -> AsyncIterator[None]:
    """Turn psycopg's errors into those of `pipeline.errors`.

    Retryable: lost connection, deadlock, server shutdown. Invalid: a value that no column accepts. Fatal: all others.
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
    errors.UniqueViolation,  # two writers inserted the same row: a retry finds it
)


def is_transient(error: psycopg.Error) -> bool:
    """Return whether the same statement may succeed later."""
    if isinstance(error, _TRANSIENT):
        return True
    # A lost connection has no SQLSTATE, or one of class 08.
    return isinstance(error, psycopg.OperationalError) and (error.sqlstate or "08").startswith("08")


def queries(package: str, file: str) -> Mapping[str, LiteralString]:
    """Return the statements of a `.sql` file by the name in the comment `-- name: NAME` above each."""
    text = files(package).joinpath(file).read_text(encoding="utf-8")
    parts = re.split(r"^-- name: *(\w+) *$", text, flags=re.MULTILINE)[1:]
    # The text is part of the package, so it is as safe as a literal in the module.
    return {name: cast("LiteralString", body.strip()) for name, body in zip(parts[::2], parts[1::2], strict=True)}


async def become_publisher(conn: Connection) -> bool:
    """Try to take the publisher's lock; returns whether this connection holds it. It keeps it until it is closed."""
    async with database_errors():
        row = await (await conn.execute("select pg_try_advisory_lock(%s)", (PUBLISHER_LOCK,))).fetchone()
    return bool(row and row[0])


def _one_line(error: Exception) -> str:
    """Return the message in one line, without libpq's question to the user."""
    lines = map(str.strip, str(error).splitlines())
    kept = [line for line in lines if not line.startswith("Is the server running")]
    return " ".join(filter(None, kept)) or type(error).__name__
