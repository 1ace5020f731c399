"""An embedded PostgreSQL server on TCP, started from the binaries in a wheel; as root it runs as another account."""

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
from lab.postgres_install import UNPRIVILEGED_ACCOUNT, can_run, postgres_binaries, unprivileged_account
from lab.processes import Command, Process, free_port
from lab.progress import Progress

READY_S = 30.0
USER = "gsc"

_SETTINGS = {
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "200",
    "unix_socket_directories": "",
    "jit": "off",
}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""Settings for data that is deleted at the end of the run."""


@dataclass(frozen=True)
class DatabaseOptions:
    """How to start a server."""

    folder: Path | None = None
    """Where the data is kept; None: in a temporary folder, with settings that are fast and not durable."""
    port: int = 0
    """0: any free port."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Server settings that override the lab's own."""


class DatabaseServer:
    """A running server that accepts connections."""

    def __init__(self, command: Command, dsn: str) -> None:
        self._command = command
        self.dsn = dsn
        """DSN of the database `gsc`."""
        self.process = self._start()

    def _start(self) -> Process:
        process = Process(self._command)
        try:
            process.await_ready(lambda: _accepts_connections(self.dsn), READY_S)
        except BaseException:
            process.stop()
            raise
        return process

    def create(self, name: str) -> str:
        """Create another, empty database; return its DSN."""
        return create_database(self.dsn, name)

    def stop(self) -> None:
        """Stop the server; `start` starts it again on the same port with the same data."""
        self.process.stop()

    def start(self) -> None:
        """Start the server again after `stop`. Raises LabError."""
        self.process = self._start()


def create_database(dsn: str, name: str) -> str:
    """Create an empty database on the server of `dsn`; return the new database's DSN. Raises psycopg.Error."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    return urlsplit(dsn)._replace(path=f"/{name}").geturl()


def drop_database(dsn: str, name: str) -> None:
    """Drop a database if it exists, and close its connections. Raises psycopg.Error."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


@dataclass(frozen=True)
class _Cluster:
    """The folder of a server, and how its programs are run."""

    folder: Path
    binaries: Path
    account: int | None
    scratch: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def password_file(self) -> Path:
        return self.folder / "password"

    def command(self, name: str, program: str, arguments: list[str]) -> Command:
        argv = [str(self.binaries / "bin" / program), *arguments]
        return Command(name, argv, self.folder / "postgres.log", _environment(), self.account, self.scratch)


@contextmanager
def running_database(options: DatabaseOptions, progress: Progress = print) -> Iterator[DatabaseServer]:
    """Start a server; stop it at the end of the block. Raises LabError when it cannot be started."""
    with TemporaryDirectory(prefix="gsc-postgres-", ignore_cleanup_errors=True) as scratch:
        Path(scratch).chmod(0o755)  # the server's account must be able to reach the folders in it
        account = unprivileged_account()
        binaries = postgres_binaries(account, progress)
        progress("starting PostgreSQL")
        cluster = _Cluster(options.folder or Path(scratch) / "server", binaries, account, Path(scratch))
        _initialize(cluster)
        database = _start(cluster, options)
        try:
            yield database
        finally:
            database.process.stop()


def _start(cluster: _Cluster, options: DatabaseOptions) -> DatabaseServer:
    port = options.port or free_port()
    durability = {} if options.folder else _NOT_DURABLE
    settings = {**_SETTINGS, **durability, **options.settings, "port": str(port)}
    arguments = ["-D", str(cluster.data), "-h", "127.0.0.1"]
    arguments += [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
    password = cluster.password_file.read_text(encoding="utf-8")
    dsn = f"postgresql://{USER}:{password}@127.0.0.1:{port}/{USER}"
    return DatabaseServer(cluster.command("PostgreSQL", "postgres", arguments), dsn)


def _environment() -> dict[str, str]:
    return {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}


def _initialize(cluster: _Cluster) -> None:
    """Create the data folder and a random password, unless they exist. Raises LabError."""
    cluster.folder.mkdir(parents=True, exist_ok=True)
    exists = (cluster.data / "PG_VERSION").exists()
    if not exists:
        cluster.password_file.touch(mode=0o600)
        cluster.password_file.write_text(secrets.token_urlsafe(18), encoding="utf-8")
        _change_owner(cluster.folder, cluster.account)
    _check_access(cluster)
    if not exists:
        _create_data(cluster)
        _create_database(cluster)


def _change_owner(folder: Path, account: int | None) -> None:
    if account is not None:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, account, account)


def _check_access(cluster: _Cluster) -> None:
    folder, account = str(cluster.folder), cluster.account
    if account is not None and not can_run(account, "/bin/sh", "-c", 'cd "$1"', "sh", folder):
        raise LabError(
            f"PostgreSQL does not run as root but as the account {UNPRIVILEGED_ACCOUNT}, which cannot reach {folder}:"
            " use a folder that every account can reach, or run gsc-stream as an ordinary user"
        )


def _create_data(cluster: _Cluster) -> None:
    arguments = ["-D", str(cluster.data), "-U", USER, "-A", "scram-sha-256"]
    arguments += ["--pwfile", str(cluster.password_file), "-E", "UTF8", "--locale-provider=builtin"]
    arguments += ["--builtin-locale=C.UTF-8", "--no-locale", "--no-sync"]
    process = Process(cluster.command("initdb", "initdb", arguments))
    if process.wait():
        raise LabError(f"PostgreSQL cannot create its data folder {cluster.data}: {process.tail()}")


def _create_database(cluster: _Cluster) -> None:
    """Create the database in single-user mode, before the server accepts connections."""
    command = cluster.command("PostgreSQL", "postgres", ["--single", "-D", str(cluster.data), "postgres"])
    result = subprocess.run(
        command.argv,
        input=f"create database {USER};\n",
        text=True,
        capture_output=True,
        check=False,
        env=command.environment,
        user=command.user,
        group=command.user,
        extra_groups=[] if command.user else None,
    )
    if result.returncode:
        raise LabError(f"PostgreSQL cannot create the database {USER}: {result.stderr}")


def _accepts_connections(dsn: str) -> bool:
    try:
        with psycopg.connect(dsn, connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False
