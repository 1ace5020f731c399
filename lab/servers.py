"""Which servers the lab uses: given ones, containers, or its own."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import psycopg

from lab import containers
from lab.broker import BrokerOptions, running_broker, why_silent
from lab.database import DatabaseOptions, running_database
from lab.errors import LabError
from lab.kafka_jars import Progress

CONTAINER_READY_S = 60.0
GIVEN_S = 3.0
"""For a server that runs already to answer."""


@dataclass(frozen=True)
class ServerChoice:
    """`kafka` (HOST:PORT) and `postgres` (a DSN) name servers that run already; the others are started."""

    kafka: str | None = None
    postgres: str | None = None
    folder: Path | None = None
    """Where the embedded servers keep their data; none: nowhere."""
    docker: bool = False
    """Start containers of the official images instead of embedded servers."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """Of the embedded servers, `kafka` and `postgres`; free ones by default."""
    client: Mapping[str, str] = field(default_factory=dict)
    """What a client of the Kafka that runs already needs besides its address."""


@dataclass(frozen=True)
class Servers:
    """Servers that answer."""

    bootstrap_servers: str
    dsn: str


@contextmanager
def running_servers(choice: ServerChoice, progress: Progress = print) -> Iterator[Servers]:
    """The servers, for the length of a block. Raises LabError."""
    with ExitStack() as stack:
        yield Servers(_kafka(choice, stack, progress), _postgres(choice, stack, progress))


def _kafka(choice: ServerChoice, stack: ExitStack, progress: Progress) -> str:
    if choice.kafka is not None:
        return _reachable_kafka(choice.kafka, choice.client)
    if choice.docker:
        return _soon(_reachable_kafka, stack.enter_context(containers.running_kafka(progress)))
    folder = choice.folder / "kafka" if choice.folder else None
    options = BrokerOptions(folder, choice.ports.get("kafka", 0))
    return stack.enter_context(running_broker(options, progress)).bootstrap_servers


def _postgres(choice: ServerChoice, stack: ExitStack, progress: Progress) -> str:
    if choice.postgres is not None:
        return _reachable_postgres(choice.postgres)
    if choice.docker:
        return _soon(_reachable_postgres, stack.enter_context(containers.running_postgres(progress)))
    folder = choice.folder / "postgres" if choice.folder else None
    options = DatabaseOptions(folder, choice.ports.get("postgres", 0))
    return stack.enter_context(running_database(options, progress)).dsn


def _soon(reachable: Callable[[str], str], address: str) -> str:
    """The address, once it answers; a container has started before its server has."""
    deadline = time.monotonic() + CONTAINER_READY_S
    while True:
        try:
            return reachable(address)
        except LabError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _reachable_kafka(servers: str, client: Mapping[str, str] = MappingProxyType({})) -> str:
    if problem := why_silent({**client, "bootstrap.servers": servers}, timeout_s=GIVEN_S):
        raise LabError(f"--kafka {servers}: no Kafka answers there: {problem}")
    return servers


def _reachable_postgres(dsn: str) -> str:
    try:
        with psycopg.connect(dsn, connect_timeout=5):
            return dsn
    except psycopg.Error as error:
        raise LabError(f"--postgres: {' '.join(str(error).split())}") from error
