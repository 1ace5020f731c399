"""A real PgBouncer in front of PostgreSQL: by session it is accepted, by transaction refused."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from lab.postgres_install import unprivileged_account
from lab.processes import Command, Process, free_port
from lab.servers import Servers
from pipeline.errors import Retryable
from pipeline.kafka_admin import create_topics
from pipeline.postgres import connection
from pipeline.schema import migrate
from pipeline.settings import PostgresSettings
from pipeline.startup_checks import POOLED, require_schema
from support.examples import write_catalog
from support.tools import pgbouncer

COMMAND = Path(sys.executable).with_name("gsc-stream")
CONFIGURATION = """\
[databases]
* = host={host} port={port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
"""


@contextmanager
def running_pgbouncer(dsn: str, mode: str, folder: Path) -> Iterator[str]:
    """Start a pooler; yields the DSN of the database behind it."""
    server, listen = conninfo_to_dict(dsn), free_port()
    shutil.copytree(pgbouncer.path(), folder / "installed")  # where an unprivileged account can read it
    configuration = folder / "pgbouncer.ini"
    names = ("host", "port", "user", "password")
    configuration.write_text(CONFIGURATION.format(**{n: server.get(n, "") for n in names}, listen=listen, mode=mode))
    libraries = ":".join(str(path.parent) for path in (folder / "installed").rglob("*.so.*"))
    argv = [str(folder / "installed/usr/sbin/pgbouncer"), str(configuration)]
    environment = {"LD_LIBRARY_PATH": libraries}
    process = Process(Command("PgBouncer", argv, folder / "log", environment, unprivileged_account()))
    pooled = make_conninfo(dsn, host="127.0.0.1", port=listen)
    try:
        process.await_ready(lambda: asyncio.run(_answers(pooled)), 30)
        yield pooled
    finally:
        process.stop()


async def _answers(dsn: str) -> bool:
    try:
        async with connection(dsn, application="test"):
            return True
    except Retryable:
        return False


@pytest.fixture
def migrated(dsn: str) -> str:
    async def migrate_it() -> None:
        async with connection(dsn, application="test") as conn:
            await migrate(conn)

    asyncio.run(migrate_it())
    return dsn


async def _is_accepted(dsn: str) -> bool:
    """Raises StartError otherwise."""
    await require_schema(PostgresSettings(postgres_dsn=dsn), "test")
    return True


def test_a_pool_by_session_is_accepted(migrated: str, open_folder: Path) -> None:
    with running_pgbouncer(migrated, "session", open_folder) as pooled:
        assert asyncio.run(_is_accepted(pooled))


def test_a_pool_by_transaction_is_refused_by_check_and_by_a_service(
    migrated: str, open_folder: Path, folder: Path, servers: Servers, topic_prefix: str
) -> None:
    asyncio.run(create_topics({"bootstrap.servers": servers.bootstrap_servers}, topic_prefix))
    with running_pgbouncer(migrated, "transaction", open_folder) as pooled:
        environment = {
            **os.environ,
            "GSC_POSTGRES_DSN": pooled,
            "GSC_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
            "GSC_TOPIC_PREFIX": topic_prefix,
            "GSC_CATALOG": str(write_catalog(folder)),
            "GSC_HTTP_PORT": "0",
        }
        checked = run(environment, "check", "--json")
        problems = {item["check"]: item["problem"] for item in json.loads(checked.stdout)["checks"]}
        assert (checked.returncode, problems["kafka"]) == (1, None)
        assert POOLED.removeprefix("PostgreSQL: ") in problems["postgresql"]
        sink = run(environment, "sink")
        assert (sink.returncode, sink.stderr.strip()) == (2, POOLED)


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
