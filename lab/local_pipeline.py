"""A pipeline on the lab's servers: its topics, its schema, and its three services as processes."""

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from lab.processes import PYTHON, Command, Process, inherited_environment
from lab.servers import Servers
from pipeline.catalog_file import read_catalog
from pipeline.kafka_admin import create_topics
from pipeline.postgres import connection
from pipeline.report_views import create_report_views
from pipeline.schema import migrate
from pipeline.settings import kafka_configuration

NAMES = ("producer", "fetcher", "sink")


@dataclass(frozen=True)
class Setup:
    """The servers, API and catalog of a pipeline."""

    servers: Servers
    api_root: str
    catalog: Path
    folder: Path
    """Where the services write their logs."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """More settings of every service, as environment variables."""
    scratch: Path | None = None
    """A temporary folder of this process, which is removed even if this process is killed."""

    @property
    def environment(self) -> dict[str, str]:
        """The settings of the services, as environment variables."""
        return {
            "GSC_API_ROOT": self.api_root,
            "GSC_KAFKA_BOOTSTRAP_SERVERS": self.servers.bootstrap_servers,
            "GSC_POSTGRES_DSN": self.servers.dsn,
            "GSC_CATALOG": str(self.catalog),
            "GSC_HTTP_HOST": "127.0.0.1",
            "GSC_HTTP_PORT": "0",
            "GSC_LOG_FORMAT": "json",
            **_token_hosts(self.api_root),
            **self.extra,
        }

    @property
    def kafka(self) -> dict[str, str]:
        """The configuration of a librdkafka client."""
        return kafka_configuration(self.environment)

    @property
    def prefix(self) -> str:
        """The prefix of the topics' names."""
        return self.extra.get("GSC_TOPIC_PREFIX", "gsc")


def _token_hosts(api_root: str) -> dict[str, str]:
    """Return the setting by which key files may name the simulator, which is the only API without TLS."""
    root = urlsplit(api_root)
    return {"GSC_TOKEN_HOSTS": f"http://{root.hostname}"} if root.scheme == "http" else {}


async def prepare(setup: Setup) -> None:
    """Create the topics, the schema and the report views. Raises PipelineError and CatalogError."""
    await create_topics(setup.kafka, setup.prefix)
    async with connection(setup.servers.dsn, application="gsc-lab") as conn:
        await migrate(conn)
        await create_report_views(conn, read_catalog(setup.catalog))


def start_service(name: str, environment: Mapping[str, str], folder: Path, scratch: Path | None = None) -> Process:
    """Start a service with these settings and the inherited variables; it logs to `NAME.log` in the folder."""
    argv = [*PYTHON, "-m", name]
    return Process(
        Command(
            f"the {name}", argv, folder / f"{name}.log", {**inherited_environment(), **environment}, scratch=scratch
        )
    )


class Services:
    """The service processes of a pipeline."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self.processes: dict[str, Process] = {}
        """By name, in the order in which they were first started."""

    def start(self, name: str, **extra: str) -> Process:
        """Start a service; `extra` settings override those of the setup."""
        setup = self._setup
        self.processes[name] = start_service(name, {**setup.environment, **extra}, setup.folder, setup.scratch)
        return self.processes[name]

    def stop(self) -> None:
        """Stop all services at once: each finishes its own work, and needs no other for it."""
        for process in self.processes.values():
            process.signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait()

    def ended(self) -> list[str]:
        """Return a message for each service that has exited, with the end of its log."""
        return [f"{process.end}: {process.tail()}" for process in self.processes.values() if not process.running]


@contextmanager
def running_services(setup: Setup, ports: Mapping[str, int] = MappingProxyType({})) -> Iterator[Services]:
    """Start the three services; stop them at the end of the block. `ports`: HTTP ports by name; default: free ports."""
    services = Services(setup)
    try:
        for name in NAMES:
            services.start(name, **({"GSC_HTTP_PORT": str(ports[name])} if name in ports else {}))
        yield services
    finally:
        services.stop()
