"""A real PostgreSQL on TCP, from the binaries in a wheel, also when we are root."""

import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from lab.errors import LabError
from lab.kafka_jars import Progress
from lab.postgres_install import ORDINARY_ACCOUNT, can_run, ordinary_account, postgres_binaries
from lab.processes import Command, Process, free_port

READY_S = 30.0
USER = "gsc"

_SETTINGS = {
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "60",
    "unix_socket_directories": "",
    "jit": "off",
}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class DatabaseOptions:
    """`folder`: where the data stays (none: temporary, fast and not durable). `port` 0: a free one."""

    folder: Path | None = None
    port: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)
    """Server settings over ours."""


class Database:
    """A server that answers."""

    def __init__(self, command: Command, dsn: str) -> None:
        self._command = command
        self.dsn = dsn
        """Of the database `gsc`."""
        self.process = self._started()

    def _started(self) -> Process:
        process = Process(self._command)
        try:
            process.await_ready(lambda: _answers(self.dsn), READY_S)
        except BaseException:
            process.stop()
            raise
        return process

    def create(self, name: str) -> str:
        """Make another, empty database; returns its DSN."""
        return create_database(self.dsn, name)

    def stop(self) -> None:
        """Stop the server; `start` brings it back on the same port with the same data."""
        self.process.stop()

    def start(self) -> None:
        """Start the server again."""
        self.process = self._started()


def create_database(dsn: str, name: str) -> str:
    """Make an empty database on the server of `dsn`; returns its DSN."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    return urlsplit(dsn)._replace(path=f"/{name}").geturl()


def drop_database(dsn: str, name: str) -> None:
    """Remove a database, also when somebody is connected to it."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


@dataclass(frozen=True)
class _Server:
    """Where a server lives, and as whom."""

    folder: Path
    binaries: Path
    account: int | None
    scratch: Path

    def command(self, name: str, argv: list[str]) -> Command:
        return Command(name, argv, self.folder / "postgres.log", _environment(), self.account, self.scratch)


@contextmanager
def running_database(options: DatabaseOptions, progress: Progress = print) -> Iterator[Database]:
    """Start a server and stop it at the end of the block. Raises LabError."""
    with TemporaryDirectory(prefix="gsc-postgres-", ignore_cleanup_errors=True) as scratch:
        Path(scratch).chmod(0o755)  # the account that the server runs as must come through
        folder = options.folder or Path(scratch) / "server"
        account = ordinary_account()
        binaries = postgres_binaries(account, progress)
        progress("starting PostgreSQL")
        server = _Server(folder, binaries, account, Path(scratch))
        password = _initialised(server)
        port = options.port or free_port()
        settings = {**_SETTINGS, **({} if options.folder else _NOT_DURABLE), **options.settings, "port": str(port)}
        argv = [str(binaries / "bin" / "postgres"), "-D", str(folder / "data"), "-h", "127.0.0.1"]
        argv += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = server.command("PostgreSQL", argv)
        database = Database(command, f"postgresql://{USER}:{password}@127.0.0.1:{port}/{USER}")
        try:
            yield database
        finally:
            database.process.stop()


def _environment() -> dict[str, str]:
    return {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}


def _initialised(server: _Server) -> str:
    """Make the cluster unless it is there; returns the password."""
    server.folder.mkdir(parents=True, exist_ok=True)
    password_file = server.folder / "password"
    made = (server.folder / "data" / "PG_VERSION").exists()
    if not made:
        password_file.touch(mode=0o600)
        password_file.write_text(secrets.token_urlsafe(18), encoding="utf-8")
        _give(server.folder, server.account)
    if server.account is not None and not can_run(server.account, "/bin/sh", "-c", 'cd "$1"', "sh", str(server.folder)):
        raise LabError(
            f"as root PostgreSQL runs as the account {ORDINARY_ACCOUNT}, which cannot reach {server.folder}: choose a"
            " folder that it can, or run as an ordinary user"
        )
    if not made:
        _initdb(server)
    return password_file.read_text(encoding="utf-8")


def _give(folder: Path, account: int | None) -> None:
    if account is not None:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, account, account)


def _initdb(server: _Server) -> None:
    data, password = str(server.folder / "data"), str(server.folder / "password")
    argv = [str(server.binaries / "bin" / "initdb"), "-D", data, "-U", USER, "-A", "scram-sha-256"]
    argv += ["--pwfile", password, "-E", "UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    argv += ["--no-locale", "--no-sync"]
    process = Process(server.command("initdb", argv))
    if process.wait():
        raise LabError(f"PostgreSQL could not make its data folder: {process.tail()}")
    single = [str(server.binaries / "bin" / "postgres"), "--single", "-D", data, "postgres"]
    done = subprocess.run(
        single,
        input=f"create database {USER};\n",
        text=True,
        capture_output=True,
        check=False,
        env=_environment(),
        user=server.account,
        group=server.account,
        extra_groups=[] if server.account else None,
    )
    if done.returncode:
        raise LabError(f"PostgreSQL could not make its database: {done.stderr}")


def _answers(dsn: str) -> bool:
    try:
        with psycopg.connect(dsn, connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False
