"""An HTTP server under more half-open connections than the process may have files."""

import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

SERVER = """
import asyncio, resource, sys
from pipeline.health import HttpServer
from pipeline.log import configure_logging
from pipeline.settings import HttpSettings, Settings

resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))

async def main():
    configure_logging(Settings(log_format="json"), "sink")
    server = HttpServer(HttpSettings(http_host="127.0.0.1", http_port=0), "sink", not_ready=lambda: None)
    print(await server.start(), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""
HALF_A_REQUEST = b"GET /live HTTP/1.1\r\nHost:"


@contextmanager
def serving(log: Path, files: int) -> Iterator[int]:
    with log.open("w") as out:
        command = [sys.executable, "-c", SERVER, str(files)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=out, text=True)
    try:
        assert process.stdout is not None
        with process.stdout:
            yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


@pytest.fixture(autouse=True)
def enough_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def open_half(stack: ExitStack, port: int, count: int) -> None:
    for _ in range(count):
        client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        client.sendall(HALF_A_REQUEST)


def test_probes_are_answered_beside_half_open_connections(tmp_path: Path) -> None:
    with serving(tmp_path / "log", files=1024) as port, ExitStack() as stack:
        open_half(stack, port, 1100)
        for _ in range(3):
            assert httpx.get(f"http://127.0.0.1:{port}/live", timeout=10).status_code == 200
    assert "accept_failed" not in (tmp_path / "log").read_text()


def test_without_free_files_failures_are_logged_at_a_limited_rate_and_probes_answered(tmp_path: Path) -> None:
    with serving(tmp_path / "log", files=64) as port, ExitStack() as stack:
        open_half(stack, port, 120)
        deadline = time.monotonic() + 60
        while not _is_live(port):
            assert time.monotonic() < deadline
    lines = (tmp_path / "log").read_text().splitlines()
    failures = [line for line in lines if "accept_failed" in line]
    assert 1 <= len(failures) <= 10
    assert len(lines) < 20


def _is_live(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/live", timeout=5).is_success
    except httpx.TransportError:
        return False
