"""Docker containers are started with ports on the loopback interface only, and always removed."""

import sys
from unittest.mock import MagicMock
from urllib.parse import urlsplit

import docker
import pytest
from docker.models.containers import ExecResult
from testcontainers.core.config import testcontainers_config

import lab
from lab.containers import KAFKA_IMAGE, POSTGRES_IMAGE, running_kafka, running_postgres
from lab.errors import LabError
from lab.servers import ServerChoice, running_servers


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """A Docker engine whose containers run, log that Kafka has started, and execute commands with exit code 0."""
    client = MagicMock()
    container = client.containers.create.return_value
    container.configure_mock(id="id", status="running")
    container.logs.return_value = b"[KafkaRaftServer nodeId=1] Kafka Server started (kafka.server.KafkaRaftServer)"
    container.exec_run.return_value = ExecResult(0, b"")
    monkeypatch.setattr(docker, "from_env", lambda **_: client)
    monkeypatch.setattr(testcontainers_config, "ryuk_disabled", True)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    return client


def test_kafka_listens_on_the_advertised_loopback_port(engine: MagicMock) -> None:
    lines: list[str] = []
    with running_kafka(lines.append) as servers:
        host, _, port = servers.partition(":")
        ((image,), arguments) = engine.containers.create.call_args
        assert (image, host) == (KAFKA_IMAGE, "127.0.0.1")
        assert arguments["ports"] == {port: ("127.0.0.1", int(port))}
        assert arguments["environment"]["KAFKA_ADVERTISED_LISTENERS"] == f"PLAINTEXT://{servers}"
        assert not engine.containers.create.return_value.remove.called
    assert engine.containers.create.return_value.remove.called
    assert lines == [f"starting {KAFKA_IMAGE} in Docker"]


def test_postgres_listens_on_a_loopback_port(engine: MagicMock) -> None:
    with running_postgres(lambda line: None) as dsn:
        url = urlsplit(dsn)
        assert (url.username, url.password, url.hostname, url.path) == ("gsc", "gsc", "127.0.0.1", "/gsc")
        ((image,), arguments) = engine.containers.create.call_args
        assert image == POSTGRES_IMAGE
        assert arguments["ports"] == {"5432": ("127.0.0.1", url.port)}
        assert arguments["environment"] == {
            "POSTGRES_USER": "gsc", "POSTGRES_PASSWORD": "gsc", "POSTGRES_DB": "gsc",
        }  # fmt: skip
    assert engine.containers.create.return_value.remove.called


def test_a_container_that_exits_during_its_start_is_removed_and_reported(engine: MagicMock) -> None:
    container = engine.containers.create.return_value
    container.configure_mock(status="exited")
    container.logs.return_value = b"no space left on device"
    with pytest.raises(LabError, match=f"Docker cannot start {KAFKA_IMAGE}: Container exited"), running_kafka(print):
        pass
    assert container.remove.called


@pytest.mark.parametrize(
    ("message", "hint"), [("cannot pull\ntestcontainers/ryuk", True), ("cannot pull\napache/kafka", False)]
)
def test_an_error_of_docker_is_reported_in_one_line(engine: MagicMock, message: str, hint: bool) -> None:
    engine.containers.create.side_effect = docker.errors.APIError(message)
    with pytest.raises(LabError, match="GSC_LAB=docker: Docker cannot start") as raised, running_kafka(print):
        pass
    assert "\n" not in str(raised.value)
    assert ("TESTCONTAINERS_RYUK_DISABLED=true" in str(raised.value)) == hint


def test_a_docker_engine_that_does_not_answer_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(LabError, match=f"Docker cannot start {POSTGRES_IMAGE}"), running_postgres(print):
        pass


def test_docker_without_the_extra_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lab.containers", None)
    monkeypatch.delattr(lab, "containers")
    message = r"GSC_LAB=docker needs testcontainers: install `gsc-stream\[docker\]`"
    with pytest.raises(LabError, match=message), running_servers(ServerChoice(docker=True)):
        pass
