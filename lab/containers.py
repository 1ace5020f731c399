"""Kafka and PostgreSQL as Docker containers of the official images, by testcontainers.

Importing this module raises ImportError unless `gsc-stream[docker]` is installed.
"""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from docker.errors import DockerException
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from lab.errors import LabError
from lab.kafka_jars import KAFKA
from lab.processes import free_port
from lab.progress import Progress

KAFKA_IMAGE = f"apache/kafka:{KAFKA[2]}"  # the version of the embedded broker
POSTGRES_IMAGE = "postgres:18"
LOOPBACK = "127.0.0.1"
_USER = "gsc"
_PASSWORD = "gsc"  # noqa: S105 - of a container that only this machine can reach


@contextmanager
def running_kafka(progress: Progress) -> Iterator[str]:
    """Run a Kafka container for the length of the block; yield its bootstrap servers. Raises LabError.

    The generic container, because testcontainers' KafkaContainer starts with scripts of the Confluent images.
    """
    # The broker advertises this port to its clients, so it must be known before the container starts.
    port = free_port()
    environment = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{LOOPBACK}:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        "KAFKA_GROUP_CONSUMER_MIN_SESSION_TIMEOUT_MS": "1000",
        "KAFKA_GROUP_CONSUMER_SESSION_TIMEOUT_MS": "10000",
        "KAFKA_GROUP_CONSUMER_MIN_HEARTBEAT_INTERVAL_MS": "500",
        "KAFKA_GROUP_CONSUMER_HEARTBEAT_INTERVAL_MS": "1000",
    }
    progress(f"starting {KAFKA_IMAGE} in Docker")
    with ExitStack() as stack:
        with _docker_errors(KAFKA_IMAGE):
            container = DockerContainer(KAFKA_IMAGE, env=environment)
            container.waiting_for(LogMessageWaitStrategy("Kafka Server started"))
            _start(container, {str(port): (LOOPBACK, port)}, stack)
        yield f"{LOOPBACK}:{port}"


@contextmanager
def running_postgres(progress: Progress) -> Iterator[str]:
    """Run a PostgreSQL container for the length of the block; yield its DSN. Raises LabError."""
    port = free_port()
    progress(f"starting {POSTGRES_IMAGE} in Docker")
    with ExitStack() as stack:
        with _docker_errors(POSTGRES_IMAGE):
            container = PostgresContainer(POSTGRES_IMAGE, username=_USER, password=_PASSWORD, dbname=_USER)
            _start(container, {str(container.port): (LOOPBACK, port)}, stack)
        yield f"postgresql://{_USER}:{_PASSWORD}@{LOOPBACK}:{port}/{_USER}"


def _start(container: Any, ports: dict[str, tuple[str, int]], stack: ExitStack) -> None:
    """Start the container with its ports published on the loopback interface; the stack removes it.

    testcontainers' `with_exposed_ports` and `with_bind_ports` would publish them on every interface.
    """
    logging.getLogger("testcontainers").setLevel(logging.WARNING)  # the progress lines already say what it logs at info
    container.ports.update(ports)
    stack.callback(container.stop)  # before the start: a container that was created and did not start is removed too
    container.start()


@contextmanager
def _docker_errors(image: str) -> Iterator[None]:
    """Raise LabError for the errors of docker and testcontainers, which include TimeoutError and RuntimeError."""
    try:
        yield
    except (DockerException, OSError, RuntimeError) as error:
        raise LabError(f"GSC_LAB=docker: Docker cannot start {image}: {_describe(error)}") from error


def _describe(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "ryuk" not in text:
        return text
    return f"{text}. Ryuk is testcontainers' cleanup container; TESTCONTAINERS_RYUK_DISABLED=true disables it."
