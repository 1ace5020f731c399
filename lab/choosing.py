"""Which servers the lab uses: given ones, or its own."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from lab.broker import BrokerOptions, running_broker
from lab.database import DatabaseOptions, running_database
from lab.errors import LabError
from lab.jars import Progress


@dataclass(frozen=True)
class LabChoice:
    """`kafka` (HOST:PORT) and `postgres` (a DSN) name servers that run already; the others are started."""

    kafka: str | None = None
    postgres: str | None = None
    folder: Path | None = None
    """Where the started servers keep their data; none: nowhere."""


@dataclass(frozen=True)
class Servers:
    """Servers that answer."""

    bootstrap_servers: str
    dsn: str


@contextmanager
def running_servers(choice: LabChoice, progress: Progress = print) -> Iterator[Servers]:
    """The servers, for the length of a block. Raises LabError."""
    with ExitStack() as stack:
        yield Servers(_kafka(choice, stack, progress), _postgres(choice, stack, progress))


def _kafka(choice: LabChoice, stack: ExitStack, progress: Progress) -> str:
    if choice.kafka is not None:
        return _reachable_kafka(choice.kafka)
    folder = choice.folder / "kafka" if choice.folder else None
    return stack.enter_context(running_broker(BrokerOptions(folder), progress)).bootstrap_servers


def _postgres(choice: LabChoice, stack: ExitStack, progress: Progress) -> str:
    if choice.postgres is not None:
        return _reachable_postgres(choice.postgres)
    folder = choice.folder / "postgres" if choice.folder else None
    return stack.enter_context(running_database(DatabaseOptions(folder), progress)).dsn


def _reachable_kafka(servers: str) -> str:
    host, _, port = servers.partition(",")[0].rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=5):
            return servers
    except (OSError, ValueError) as error:
        raise LabError(f"--kafka {servers}: {error}") from error


def _reachable_postgres(dsn: str) -> str:
    try:
        with psycopg.connect(dsn, connect_timeout=5):
            return dsn
    except psycopg.Error as error:
        raise LabError(f"--postgres: {' '.join(str(error).split())}") from error
