"""Servers for the tests: real ones, started once for a test session, or those that are given."""

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from confluent_kafka.admin import AdminClient
from hypothesis import settings

from lab.database import create_database, drop_database
from lab.servers import ServerChoice, Servers, running_servers
from pipeline.publisher import Publisher, open_publisher

# A busy machine is slow: how long an example takes says nothing about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kafka", help="a Kafka that runs already, HOST:PORT")
    parser.addoption("--postgres", help="a PostgreSQL that runs already, as a DSN")


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    kafka, postgres = request.config.getoption("--kafka"), request.config.getoption("--postgres")
    if kafka and postgres:
        yield Servers(kafka, postgres)
        return
    with running_servers(ServerChoice(kafka, postgres, docker=os.environ.get("GSC_LAB") == "docker")) as running:
        yield running


@pytest.fixture
def dsn(servers: Servers) -> Iterator[str]:
    """An empty database of the test's own."""
    name = f"test_{uuid.uuid4().hex}"
    yield create_database(servers.dsn, name)
    drop_database(servers.dsn, name)


@pytest.fixture
def kafka(servers: Servers) -> dict[str, str]:
    return {"bootstrap.servers": servers.bootstrap_servers}


@pytest.fixture
async def publisher(kafka: dict[str, str]) -> AsyncIterator[Publisher]:
    async with open_publisher(kafka, "test") as opened:
        yield opened


@pytest.fixture
def topic_prefix(servers: Servers) -> Iterator[str]:
    """Topics of the test's own. They are deleted: many partitions slow a broker down."""
    prefix = f"t{uuid.uuid4().hex[:12]}"
    yield prefix
    admin = AdminClient({"bootstrap.servers": servers.bootstrap_servers})
    if topics := [name for name in admin.list_topics(timeout=60).topics if name.startswith(prefix)]:
        for future in admin.delete_topics(topics, request_timeout=60).values():
            future.result()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account can reach, unlike those of pytest."""
    with TemporaryDirectory(prefix="gsc-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
