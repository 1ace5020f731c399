"""TLS, passwords and least privileges: everything works, what is not granted is refused, and no secret is printed."""

import asyncio
import csv
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from lab.broker import ADMIN, BrokerOptions, BrokerSecurity, running_broker
from lab.certificates import make_certificates
from lab.database import create_database, drop_database
from lab.local_pipeline import NAMES, Services, Setup, prepare
from lab.scenario import Scenario, start_simulator
from lab.servers import Servers
from pipeline.clock import now
from pipeline.errors import Fatal
from pipeline.publisher import open_publisher
from support.pipeline import COMMAND, LAST_DAY, Running, simulator_settings
from support.tls import tls_front

pytestmark = pytest.mark.xdist_group("security")
DOCS = Path(__file__).parents[2] / "docs" / "security"
USERS = ("producer", "fetcher", "sink", "operator")
DAYS = 8
DATABASE = f"test_security_{uuid4().hex[:8]}"
TOKEN = "the-token-of-the-http-face"


@dataclass(frozen=True)
class Secured:
    """A broker and a database that trust nobody."""

    security: BrokerSecurity
    servers: Servers
    """With the owner's DSN, over TLS."""

    def settings(self, user: str) -> dict[str, str]:
        """The settings of a service, or of the operator."""
        kafka = self.security.client(user)
        named = {f"GSC_KAFKA_{name.replace('.', '_').upper()}": value for name, value in kafka.items()}
        return {**named, "GSC_POSTGRES_DSN": self.dsn(f"gsc_{user}")}

    def dsn(self, role: str) -> str:
        """Return the DSN of a role; each role has the password of its Kafka user."""
        parts = urlsplit(self.servers.dsn)
        password = self.security.passwords[role.removeprefix("gsc_")]
        return parts._replace(netloc=f"{role}:{password}@127.0.0.1:{parts.port}").geturl()


@pytest.fixture(scope="module")
def secured(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """With the ACLs and the grants of the docs, and a database of its own."""
    folder = tmp_path_factory.mktemp("secured")
    certificates = make_certificates(folder / "certificates", now())
    passwords = {name: f"{name}-has-a-password-of-its-own" for name in (ADMIN, *USERS, "reader")}
    security = BrokerSecurity(certificates, passwords)
    plain = urlsplit(create_database(servers.dsn, DATABASE))
    with (
        running_broker(BrokerOptions(folder / "kafka", security=security)) as broker,
        tls_front(plain.hostname or "", plain.port or 0, certificates) as port,
    ):
        verified = f"sslmode=verify-full&sslrootcert={certificates.authority}"
        netloc = f"{plain.username}:{plain.password}@127.0.0.1:{port}"
        dsn = plain._replace(netloc=netloc, query=verified).geturl()
        yield Secured(security, Servers(broker.bootstrap_servers, dsn))
    drop_database(servers.dsn, DATABASE)


def _allow(secured: Secured) -> None:
    """Apply the ACLs of the docs."""
    lines = csv.DictReader((DOCS / "acls.csv").read_text().splitlines())
    bindings = [
        AclBinding(
            ResourceType[line["resource"].upper()],
            line["name"],
            ResourcePatternType[line["pattern"].upper()],
            f"User:{line['user']}",
            "*",
            AclOperation[operation.upper()],
            AclPermissionType.ALLOW,
        )
        for line in lines
        for operation in line["operations"].split()
    ]
    client = {"bootstrap.servers": secured.servers.bootstrap_servers, **secured.security.client(ADMIN)}
    admin = AdminClient(client)  # kept: without it the futures never end
    for future in admin.create_acls(bindings).values():
        future.result(20)


def _grant(secured: Secured) -> None:
    """Apply the grants of the docs; the server is shared, so the roles may be there already."""
    with psycopg.connect(secured.servers.dsn, autocommit=True) as conn:
        conn.execute((DOCS / "grants.sql").read_text())
        for role in ("producer", "sink", "operator", "reader"):
            conn.execute(f"alter role gsc_{role} password '{secured.security.passwords[role]}'")


@contextmanager
def _running(secured: Secured, folder: Path) -> Iterator[Running]:
    google = start_simulator(simulator_settings(Scenario(days=DAYS, rows=200, latency_s=0.05, full_days=False)), folder)
    extra = {"GSC_LOG_LEVEL": "debug", "GSC_HTTP_TOKEN": TOKEN}
    setup = Setup(secured.servers, google.root, google.catalog, folder, {**extra, **secured.settings("operator")})
    services = Services(setup)
    try:
        asyncio.run(prepare(replace(setup, extra={**setup.extra, "GSC_POSTGRES_DSN": secured.servers.dsn})))
        _grant(secured)
        for name in NAMES:
            services.start(name, **secured.settings(name))
        yield Running(setup, google, services, LAST_DAY)
    finally:
        services.stop()
        google.process.stop()


def test_with_tls_passwords_and_least_privileges(secured: Secured, folder: Path) -> None:
    _allow(secured)
    with _running(secured, folder) as running:
        ports = asyncio.run(running.ports())
        pages = asyncio.run(_synced(running))
        assert set(pages) == {"applied"}
        assert asyncio.run(running.differences(DAYS)) == []
        reported = _operate(running)
        _tokens_are_asked_for(ports["producer"])
        reported += [httpx.get(f"http://127.0.0.1:{port}/metrics").text for port in ports.values()]
        asyncio.run(_refused_by_kafka(secured))
        _refused_by_postgres(secured)
        assert not running.services.ended()
    reported += [(folder / f"{name}.log").read_text() for name in ports]
    secrets = _secrets(secured, folder)
    assert len(secrets) > 10
    for secret in secrets:
        assert not [text for text in reported if secret in text], f"reported: {secret[:20]}"


async def _synced(running: Running) -> dict[str, int]:
    return await running.finished(await running.request_sync(DAYS))


def _command(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    whole = {**os.environ, **environment}
    return subprocess.run([COMMAND, *arguments], env=whole, capture_output=True, text=True, check=False, timeout=240)


def _operate(running: Running) -> list[str]:
    """Every kind of command, as the operator."""
    reported = []
    for arguments in (
        ("check",),
        ("topics", "--check"),
        ("status",),
        ("halt", "property:sc-domain:shop-1.example", "--reason", "try"),
        ("resume", "property:sc-domain:shop-1.example"),
        ("halts",),
        ("reconcile",),
        ("dead-letters", "list"),
        ("replay", "--from", "2020-01-01T00:00:00Z"),
    ):
        done = _command(running.setup.environment, *arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        reported += [done.stdout, done.stderr]
    return reported


def _tokens_are_asked_for(port: int) -> None:
    calls = [("POST", "/v1/syncs"), ("GET", "/v1/runs/x"), ("POST", "/v1/halts"), ("GET", "/v1/halts")]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for method, path in calls:
            assert client.request(method, path, json={}).status_code == 401
            assert (
                client.request(method, path, json={}, headers={"Authorization": f"Bearer {TOKEN}x"}).status_code == 401
            )
            right = client.request(method, path, json={}, headers={"Authorization": f"Bearer {TOKEN}"})
            assert right.status_code in {200, 400, 404, 422}, (method, path, right.status_code)


async def _refused_by_kafka(secured: Secured) -> None:
    foreign_topics = {
        "sink": ("gsc.batches", "gsc.results"),
        "producer": ("gsc.results",),
        "fetcher": ("gsc.sync-requests",),
    }
    for user, topic in ((user, topic) for user, topics in foreign_topics.items() for topic in topics):
        client = {"bootstrap.servers": secured.servers.bootstrap_servers, **secured.security.client(user)}
        with pytest.raises(Fatal, match="uthoriz"):
            async with open_publisher(client, "test") as publisher:
                await publisher.publish(topic, "key", b"{}")


def _refused_by_postgres(secured: Secured) -> None:
    for role, statement in (
        ("gsc_reader", "delete from gsc.facts"),
        ("gsc_reader", "select gsc.ensure_month('2020-01-01')"),
        ("gsc_reader", "select gsc.drop_month_if_empty('facts')"),
        ("gsc_sink", "drop table gsc.facts"),
        ("gsc_sink", "delete from gsc.runs"),
        ("gsc_producer", "insert into gsc.facts select * from gsc.facts"),
        ("gsc_producer", "create table gsc.mine ()"),
    ):
        with psycopg.connect(secured.dsn(role)) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(statement)
    with psycopg.connect(secured.dsn("gsc_reader")) as conn:
        found = conn.execute("select count(*) from gsc.page_query").fetchone()
    assert found
    assert found[0] > 0


def _secrets(secured: Secured, folder: Path) -> list[str]:
    found = [*secured.security.passwords.values(), TOKEN, urlsplit(secured.servers.dsn).password or ""]
    for path in folder.glob("reader-*.json"):
        content = json.loads(path.read_text())
        kept = ("private_key", "client_secret", "refresh_token")
        found += [
            line for name in kept for line in content.get(name, "").splitlines() if len(line) > 15 and "---" not in line
        ]
    return [secret for secret in found if secret]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    google = start_simulator(simulator_settings(Scenario()), tmp_path_factory.mktemp("google"))
    yield google.catalog
    google.process.stop()


@pytest.mark.parametrize(
    ("command", "wrong", "said"),
    [(name, "password", "SASL authentication error") for name in ("producer", "fetcher", "sink", "topics")]
    + [
        ("topics", "authority", "certificate verify failed"),
        ("topics", "protocol", "cannot be reached"),
        ("producer", "curves", "GSC_KAFKA_SSL_CURVES_LIST"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    secured: Secured, catalog: Path, folder: Path, command: str, wrong: str, said: str
) -> None:
    other = make_certificates(folder, now()).authority
    mistakes = {
        "password": {"GSC_KAFKA_SASL_PASSWORD": "wrong"},
        "authority": {"GSC_KAFKA_SSL_CA_LOCATION": str(other)},
        "protocol": {"GSC_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"},
        "curves": {"GSC_KAFKA_SSL_CURVES_LIST": "P-256"},
    }
    environment = {
        **secured.settings(ADMIN if command == "topics" else command),
        "GSC_KAFKA_BOOTSTRAP_SERVERS": secured.servers.bootstrap_servers,
        "GSC_POSTGRES_DSN": secured.servers.dsn,
        "GSC_CATALOG": str(catalog),
        "GSC_TOKEN_HOSTS": "http://127.0.0.1",
        "GSC_HTTP_PORT": "0",
        **mistakes[wrong],
    }
    done = _command(environment, command)
    assert done.returncode == 2, done
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert said in done.stderr
