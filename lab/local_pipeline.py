"""A whole pipeline on the lab's servers: topics, schema, three processes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from lab.processes import Process
from lab.servers import Servers
from lab.services import NAMES, start_service
from pipeline.catalog_file import read_catalog
from pipeline.kafka_admin import create_topics
from pipeline.postgres import connection
from pipeline.schema import create_report_views, migrate
from pipeline.settings import kafka_configuration


@dataclass(frozen=True)
class Setup:
    """Which servers, API and catalog the pipeline works with; `extra` are settings for every service."""

    servers: Servers
    api_root: str
    catalog: Path
    folder: Path
    """Where the logs go."""
    extra: Mapping[str, str] = field(default_factory=dict)
    scratch: Path | None = None
    """A folder that is to go also if we are killed."""

    @property
    def environment(self) -> dict[str, str]:
        """The settings of the services."""
        return {
            "GSC_API_ROOT": self.api_root,
            "GSC_KAFKA_BOOTSTRAP_SERVERS": self.servers.bootstrap_servers,
            "GSC_POSTGRES_DSN": self.servers.dsn,
            "GSC_CATALOG": str(self.catalog),
            "GSC_HTTP_HOST": "127.0.0.1",
            "GSC_HTTP_PORT": "0",
            "GSC_LOG_FORMAT": "json",
            **self.extra,
        }

    @property
    def kafka(self) -> dict[str, str]:
        """librdkafka's configuration."""
        return kafka_configuration(self.environment)

    @property
    def prefix(self) -> str:
        """Of the topics."""
        return self.extra.get("GSC_TOPIC_PREFIX", "gsc")


async def prepare(setup: Setup) -> None:
    """Create topics, schema and views. Raises the flows of `pipeline.errors`."""
    await create_topics(setup.kafka, setup.prefix)
    async with connection(setup.servers.dsn, application="gsc-lab") as conn:
        await migrate(conn)
        await create_report_views(conn, read_catalog(setup.catalog))


class Services:
    """The running processes, by name."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self.processes: dict[str, Process] = {}

    def start(self, name: str, **extra: str) -> Process:
        """Start a service, with settings over those of the setup."""
        setup = self._setup
        self.processes[name] = start_service(name, {**setup.environment, **extra}, setup.folder, setup.scratch)
        return self.processes[name]

    def stop(self) -> None:
        """End all of them, in the order of the flow."""
        for process in self.processes.values():
            process.stop()

    def ended(self) -> list[str]:
        """What ended though nobody asked it to, each with the end of its log."""
        return [f"{p.name} has ended: {p.tail()}" for p in self.processes.values() if not p.running]


@contextmanager
def running_services(setup: Setup, ports: Mapping[str, int] = MappingProxyType({})) -> Iterator[Services]:
    """All three services, for the length of a block; `ports` of their HTTP faces by name, free ones by default."""
    services = Services(setup)
    try:
        for name in NAMES:
            services.start(name, **({"GSC_HTTP_PORT": str(ports[name])} if name in ports else {}))
        yield services
    finally:
        services.stop()
