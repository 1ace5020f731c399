"""PostgreSQL: connections with deadlines, mapping of errors to `pipeline.errors`, and named statements."""

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, LiteralString, TypeVar, cast

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq.abc import PGconn
from psycopg.rows import TupleRow

from pipeline.clock import monotonic
from pipeline.errors import Fatal, Invalid, Refused, Retryable, TooSlow

RV = TypeVar("RV")
OnAnswer = Callable[[], None]

PROBE_EVERY_S = 2.0
"""How often an idle connection is probed."""
ANSWER_LIMIT_S = 5.0
"""Time without an answer after which a service is not ready, although the connection may still be alive."""
CONNECT_S = 20.0
"""Limit for connecting, over all hosts of the DSN."""
# All advisory locks of a database share one number space; these are "gsc" and a number.
MIGRATION_LOCK = 0x67736301
LEADER_LOCK = 0x67736302
"""Its holder is the leader, the one producer that publishes pages."""

_CLIENT: Mapping[str, str] = {
    "connect_timeout": "5",  # for each host
    "keepalives": "1",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
"""libpq's own settings, which the DSN may override."""


@dataclass(frozen=True)
class Limits:
    """How long the client waits for the server, and the server for the client, in seconds."""

    answer_s: float = 20.0
    """The client closes the connection when a statement, a part of a COPY or a commit takes a second longer. A proxy
    may acknowledge every packet while no server answers, so the limits of TCP do not suffice."""
    statement_s: float | None = None
    """The server ends a statement, or a transaction without one, that takes longer. None: as `answer_s`."""
    idle_s: float | None = None
    """The server closes a session that has sent nothing for this time, and so releases its locks. None: never."""

    def session(self) -> dict[str, str]:
        """Return the settings of the session on the server. PostgreSQL 14 and newer have all of them."""
        statement_ms = f"{round((self.statement_s or self.answer_s) * 1000)}"
        return {
            "statement_timeout": statement_ms,
            "idle_in_transaction_session_timeout": statement_ms,
            "idle_session_timeout": f"{round((self.idle_s or 0) * 1000)}",
            "tcp_keepalives_idle": "10",
            "tcp_keepalives_interval": "5",
            "tcp_keepalives_count": "3",
            "tcp_user_timeout": "20000",
            # A statement that waits, such as for a lock, ends when its client is gone.
            "client_connection_check_interval": "5000",
        }


REPORT = Limits(answer_s=120.0)
"""The limits of queries that count the whole ledger."""
MAINTENANCE = Limits(answer_s=3600.0)
"""The limits of migrations, retention, replays and repairs, whose statements may touch every row."""


class Connection(AsyncConnection[TupleRow]):
    """A connection whose every wait for the server has a deadline."""

    def __init__(self, pgconn: PGconn, limits: Limits, on_answer: OnAnswer) -> None:
        """`on_answer` is called whenever the server has answered."""
        super().__init__(pgconn)
        self.limits = limits
        self._on_answer = on_answer
        self._answered_at = float("-inf")
        self._expired = False

    async def wait(self, gen: PQGen[RV], *args: Any, **kwargs: Any) -> RV:
        """Wait for the server. Raises OperationalError after the deadline, and so does every later wait."""
        timer = asyncio.get_running_loop().call_later(self.limits.answer_s + 1.0, self._give_up)
        try:
            result = await super().wait(gen, *args, **kwargs)
        except psycopg.OperationalError as error:
            if self._expired:
                raise psycopg.OperationalError(f"no answer within {self.limits.answer_s + 1.0:.0f} s") from error
            raise
        finally:
            timer.cancel()
        self._answered_at = monotonic()
        self._on_answer()
        return result

    async def limit_statements(self, seconds: float) -> None:
        """Change how long a statement may take, from the next one on. Raises psycopg's errors."""
        self.limits = replace(self.limits, answer_s=seconds, statement_s=seconds)
        parameters = (str(round(1000 * seconds)),)
        await self.execute("select set_config('statement_timeout', %s, false)", parameters)

    async def probe(self) -> None:
        """Ask the server something if it has not answered for PROBE_EVERY_S. Raises Retryable."""
        if monotonic() - self._answered_at >= PROBE_EVERY_S:
            async with database_errors():
                await self.execute("select 1")

    def _give_up(self) -> None:
        """Shut the socket down, so that every wait on it ends at once: that of a cancelled statement, too."""
        self._expired = True
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(self.pgconn.socket)) as duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)


def _class_with(limits: Limits, on_answer: OnAnswer) -> type[Connection]:
    """Return a class of connections. psycopg makes them itself, and knows no other argument than libpq's connection."""

    class Limited(Connection):
        def __init__(self, pgconn: PGconn) -> None:
            super().__init__(pgconn, limits, on_answer)

    return Limited


async def connect(
    dsn: str, *, application: str, limits: Limits = Limits(), on_answer: OnAnswer = lambda: None
) -> Connection:
    """Open a connection in autocommit mode.

    Raises Retryable when the server cannot be reached, Refused when it refuses the user, Invalid for a wrong DSN.
    """
    try:
        conninfo = make_conninfo("", **{**_CLIENT, **conninfo_to_dict(dsn), "application_name": application})
        async with asyncio.timeout(CONNECT_S):
            return await _open(conninfo, limits, on_answer)
    except TimeoutError as error:
        raise Retryable(f"PostgreSQL: no answer within {CONNECT_S:g} s") from error
    except psycopg.ProgrammingError as error:
        # libpq quotes what it cannot parse, which may contain a password.
        raise Invalid(_one_line(error).replace(dsn, "***"), field="GSC_POSTGRES_DSN") from error
    except psycopg.OperationalError as error:
        kind = Refused if _is_refused(error) else Retryable
        raise kind(f"PostgreSQL: {_one_line(error)}") from error


def _is_refused(error: psycopg.OperationalError) -> bool:
    """Return whether the server has refused the user. A failed connection has no SQLSTATE, and its message may be in
    any language; but libpq knows whether the server got as far as asking for the password."""
    attempt = error.pgconn
    asked = attempt is not None and bool(attempt.used_password or attempt.needs_password)
    return asked or re.search(r"authentication failed|pg_hba\.conf|role .* does not exist", str(error)) is not None


async def _open(conninfo: str, limits: Limits, on_answer: OnAnswer) -> Connection:
    conn = await _class_with(limits, on_answer).connect(conninfo, autocommit=True)
    settings = limits.session()
    try:
        await conn.execute(
            "select set_config(name, value, false) from unnest(%s::text[], %s::text[]) as s (name, value)",
            (list(settings), list(settings.values())),
        )
    except BaseException:
        await conn.close()
        raise
    return conn


Connect = Callable[[], AbstractAsyncContextManager[Connection]]
"""Opens a connection for the length of a block."""


@asynccontextmanager
async def connection(
    dsn: str, *, application: str, limits: Limits = Limits(), on_answer: OnAnswer = lambda: None
) -> AsyncIterator[Connection]:
    """Open a connection in autocommit mode for the length of a block; `conn.transaction()` groups statements.

    `on_answer` is called whenever the server has answered.
    """
    opened = await connect(dsn, application=application, limits=limits, on_answer=on_answer)
    async with opened:
        yield opened


@asynccontextmanager
async def database_errors() -> AsyncIterator[None]:
    """Turn psycopg's errors into those of `pipeline.errors`.

    Retryable: lost connection, deadline, deadlock, server shutdown. TooSlow: the limit of a statement. Invalid: a value
    that no column accepts. Fatal: all others.
    """
    try:
        yield
    except errors.QueryCanceled as error:
        raise TooSlow(f"PostgreSQL: {_one_line(error)}") from error
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
    errors.QueryCanceled,  # statement_timeout
    errors.IdleSessionTimeout,
    errors.IdleInTransactionSessionTimeout,
    errors.TransactionTimeout,
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


async def become_leader(conn: Connection) -> bool:
    """Try to take the leader's lock; returns whether this connection holds it. It keeps it until it is closed."""
    async with database_errors():
        row = await (await conn.execute("select pg_try_advisory_lock(%s)", (LEADER_LOCK,))).fetchone()
    return bool(row and row[0])


async def has_leader(conn: Connection) -> bool:
    """Return whether any connection to the database holds the leader's lock."""
    async with database_errors():
        row = await (await conn.execute(_LEADER_EXISTS, {"lock": LEADER_LOCK})).fetchone()
    return bool(row and row[0])


_LEADER_EXISTS = """
select exists (
    select from pg_locks where locktype = 'advisory' and granted and classid = 0 and objid = %(lock)s and objsubid = 1
        and database = (select oid from pg_database where datname = current_database())
)"""


def _one_line(error: Exception) -> str:
    """Return the message in one line, without libpq's question to the user."""
    lines = map(str.strip, str(error).splitlines())
    kept = [line for line in lines if not line.startswith("Is the server running")]
    return " ".join(filter(None, kept)) or type(error).__name__


async def is_pooled(conn: Connection) -> bool:
    """Return whether the connection ends at a pooler: the server has another process id than the client was given."""
    return conn.info.backend_pid != await _server_process(conn)


async def sessions_are_shared(dsn: str, conn: Connection) -> bool:
    """Return whether a pooler shares the sessions of the server between connections, by transaction.

    A pooler gives a second connection the session that the first one has just released, or the first one another
    session for its next statement. Raises Retryable.
    """
    async with database_errors(), connection(dsn, application="gsc-check") as other:
        first = {await _server_process(conn)}
        second = {await _server_process(other)}
        first.add(await _server_process(conn))
        second.add(await _server_process(other))
    return len(first) > 1 or len(second) > 1 or first == second


async def _server_process(conn: Connection) -> int:
    """Return the id of the server's process that runs a statement of the connection."""
    async with database_errors():
        row = await (await conn.execute("select pg_backend_pid()", prepare=False)).fetchone()
    return int(row[0]) if row else 0
