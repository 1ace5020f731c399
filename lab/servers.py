"""The servers of a pipeline: Kafka and PostgreSQL that run already, in containers, or embedded."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import psycopg

from lab.broker import BrokerOptions, connection_error, running_broker
from lab.database import DatabaseOptions, running_database
from lab.errors import LabError
from lab.processes import Process
from lab.progress import Progress

CONNECT_S = 3.0
"""How long a Kafka that runs already may take to answer."""


@dataclass(frozen=True)
class ServerChoice:
    """Which servers to use, and which to start."""

    kafka: str | None = None
    """A Kafka that runs already, HOST:PORT; None: start one."""
    postgres: str | None = None
    """A PostgreSQL that runs already, as a DSN; None: start one."""
    folder: Path | None = None
    """Where the embedded servers keep their data; None: in temporary folders."""
    docker: bool = False
    """Start containers of the official images instead of embedded servers."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """Ports of the embedded servers, by the names `kafka` and `postgres`; default: free ports."""
    client: Mapping[str, str] = field(default_factory=dict)
    """Client configuration for the Kafka that runs already, without `bootstrap.servers`."""


@dataclass(frozen=True)
class Servers:
    """Addresses of servers that accept connections."""

    bootstrap_servers: str
    dsn: str
    processes: tuple[Process, ...] = ()
    """Those that were started here without Docker."""


@contextmanager
def running_servers(choice: ServerChoice, progress: Progress = print) -> Iterator[Servers]:
    """Yield the servers; stop those that were started at the end of the block.

    Raises LabError when a server that runs already does not answer, or when one cannot be started.
    """
    with ExitStack() as stack:
        kafka, postgres = _kafka(choice, stack, progress), _postgres(choice, stack, progress)
        yield Servers(kafka.address, postgres.address, (*kafka.processes, *postgres.processes))


class _Server(NamedTuple):
    address: str
    processes: tuple[Process, ...] = ()


def _kafka(choice: ServerChoice, stack: ExitStack, progress: Progress) -> _Server:
    if choice.kafka is not None:
        return _Server(_check_kafka(choice.kafka, choice.client))
    if choice.docker:
        return _Server(stack.enter_context(_containers().running_kafka(progress)))
    folder = choice.folder / "kafka" if choice.folder else None
    options = BrokerOptions(folder, choice.ports.get("kafka", 0))
    broker = stack.enter_context(running_broker(options, progress))
    return _Server(broker.bootstrap_servers, (broker.process,))


def _postgres(choice: ServerChoice, stack: ExitStack, progress: Progress) -> _Server:
    if choice.postgres is not None:
        return _Server(_check_postgres(choice.postgres))
    if choice.docker:
        return _Server(stack.enter_context(_containers().running_postgres(progress)))
    folder = choice.folder / "postgres" if choice.folder else None
    options = DatabaseOptions(folder, choice.ports.get("postgres", 0))
    database = stack.enter_context(running_database(options, progress))
    return _Server(database.dsn, (database.process,))


def _containers() -> ModuleType:
    try:
        from lab import containers
    except ImportError as error:
        raise LabError("GSC_LAB=docker needs testcontainers: install `gsc-stream[docker]`") from error
    return containers


def _check_kafka(servers: str, client: Mapping[str, str]) -> str:
    if error := connection_error({**client, "bootstrap.servers": servers}, timeout_s=CONNECT_S):
        raise LabError(f"--kafka {servers}: no Kafka answers there: {error}")
    return servers


def _check_postgres(dsn: str) -> str:
    try:
        with psycopg.connect(dsn, connect_timeout=5):
            return dsn
    except psycopg.Error as error:
        raise LabError(f"--postgres: {' '.join(str(error).split())}") from error
