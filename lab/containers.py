"""The lab's servers as containers of the official images, for those who have Docker and ask for it."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from lab.errors import LabError
from lab.kafka_jars import KAFKA, Progress
from lab.processes import free_port

KAFKA_IMAGE = f"apache/kafka:{KAFKA[2]}"  # as the embedded one
POSTGRES_IMAGE = "postgres:18"
_PASSWORD = "gsc"  # noqa: S105 - of a container on loopback, for the length of a run


@contextmanager
def running_kafka(progress: Progress) -> Iterator[str]:
    """A Kafka container; yields its bootstrap servers, which may take a moment to answer. Raises LabError."""
    # Clients are sent to the advertised address, so the port outside has to be known before the start.
    port = free_port()
    environment = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
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
    with _running(KAFKA_IMAGE, environment, {port: port}):
        yield f"127.0.0.1:{port}"


@contextmanager
def running_postgres(progress: Progress) -> Iterator[str]:
    """A PostgreSQL container; yields its DSN, which may take a moment to answer. Raises LabError."""
    port = free_port()
    progress(f"starting {POSTGRES_IMAGE} in Docker")
    with _running(POSTGRES_IMAGE, {"POSTGRES_USER": "gsc", "POSTGRES_PASSWORD": _PASSWORD}, {5432: port}):
        yield f"postgresql://gsc:{_PASSWORD}@127.0.0.1:{port}/gsc"


@contextmanager
def _running(image: str, environment: dict[str, str], ports: dict[int, int]) -> Iterator[None]:
    try:
        from docker.errors import DockerException
        from testcontainers.core.container import DockerContainer
    except ImportError as error:
        raise LabError("GSC_LAB=docker needs testcontainers: install `gsc-stream[docker]`") from error
    logging.getLogger("testcontainers").setLevel(logging.WARNING)  # what it does, `progress` has been told
    with ExitStack() as stack:
        try:
            container: Any = DockerContainer(image)
            # Before the start: one that was made and did not start has to go as well.
            stack.callback(container.stop)
            for name, value in environment.items():
                container.with_env(name, value)
            for inside, outside in ports.items():
                # Not `with_bind_ports`, which opens the port to the network.
                container.ports[inside] = ("127.0.0.1", outside)
            container.start()
        except DockerException as error:
            raise LabError(f"GSC_LAB=docker: Docker cannot start {image}: {_told(error)}") from error
        yield


def _told(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "ryuk" not in text:
        return text
    return f"{text}. That is testcontainers' reaper; TESTCONTAINERS_RYUK_DISABLED=true does without"
