"""Child processes: how they end, how they start again, their environment, and their ports."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.processes import Command, Process, ProcessWatch, free_port, inherited_environment, previous_or_free_port


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    process = Process(Command("the sink", ["sleep", "600"], tmp_path / "log", inherited_environment()))
    yield process
    process.stop()


def test_a_killed_process_is_named_with_its_signal(process: Process) -> None:
    assert process.end is None
    process.kill()
    assert process.end == "the sink was killed by SIGKILL, signal 9"


def test_an_exit_is_named_with_its_code(tmp_path: Path) -> None:
    process = Process(Command("the sink", ["sh", "-c", "exit 2"], tmp_path / "log", inherited_environment()))
    process.wait()
    assert process.end == "the sink exited with code 2"


def test_a_process_that_ends_is_reported_once_and_started_again(process: Process) -> None:
    lines: list[str] = []
    watch = ProcessWatch([process], lines.append)
    watch.restart_ended()
    assert lines == []
    first = process.pid
    process.signal(signal.SIGKILL)
    process.wait()
    for _ in range(2):
        watch.report_ended()
    [line] = lines
    assert line.startswith("the sink was killed by SIGKILL, signal 9; the others go on, and `gsc-stream up` starts it")
    watch.restart_ended()
    assert process.running
    assert process.pid != first
    assert lines[1:] == ["the sink was started again"]
    process.kill()
    watch.report_ended()
    assert len(lines) == 3


def test_children_inherit_proxies_and_certificates_and_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "localhost", "SSL_CERT_FILE": "/ca.pem"}
    for name, value in {**variables, "GSC_SITE_QPM": "1"}.items():
        monkeypatch.setenv(name, value)
    assert inherited_environment().items() >= variables.items()
    assert "GSC_SITE_QPM" not in inherited_environment()


def test_the_previous_port_is_used_again_unless_it_is_in_use() -> None:
    port = free_port()
    assert previous_or_free_port(port) == port
    assert previous_or_free_port(None) != 0
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        assert previous_or_free_port(port) != port
