"""docker-compose.yml: valid, with everything pinned; and each of its commands of ours starts, with its settings."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from socket import socket
from typing import Any

import pytest

from lab.processes import Command, Process, free_port, inherited_environment
from lab.servers import Servers
from support.pipeline import is_ready
from support.tools import compose
from support.wait import until

ROOT = Path(__file__).parents[2]
OURS = {"simulator", "topics", "migrate", "producer", "fetcher", "sink", "gsc-stream"}
READY_S = 120.0


def _configured(*options: str, **environment: str) -> dict[str, Any]:
    command = [compose.path(), "--project-directory", ROOT, *options, "config", "--format", "json"]
    whole = {**inherited_environment(), **environment}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=whole)
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    return services


def test_it_plays_google_by_default() -> None:
    services = _configured()
    assert set(services) == {*OURS - {"gsc-stream"}, "kafka", "postgres", "prometheus", "grafana"}
    assert services["fetcher"]["environment"]["GSC_API_ROOT"] == "http://simulator:8090"


def test_with_real_credentials_there_is_no_simulator(folder: Path) -> None:
    (folder / "real.env").write_text(f"GSC_CATALOG_FOLDER={folder}\n")
    services = _configured("--env-file", str(folder / "real.env"), "--profile", "operator")
    assert "simulator" not in services
    for name in OURS - {"simulator"}:
        assert services[name]["environment"]["GSC_API_ROOT"] == "https://searchconsole.googleapis.com"
        assert services[name]["volumes"][0]["source"] == str(folder)
        assert services[name]["volumes"][0]["read_only"]


def test_it_is_pinned_restricted_and_waits_for_what_it_needs() -> None:
    services = _configured("--profile", "*")
    assert set(services) >= OURS
    for name, service in services.items():
        tag = service["image"].partition(":")[2]
        assert tag, name
        assert tag != "latest", name
        assert service["logging"] == {"driver": "local", "options": {"max-file": "5", "max-size": "20m"}}, name
        assert int(service["mem_limit"]) > 0, name
        if name in OURS:
            assert service["read_only"], name
            assert service["user"] == "10001:10001", name
            assert service["cap_drop"] == ["ALL"], name
        if name not in {"topics", "migrate", "gsc-stream"}:
            assert service["healthcheck"]["test"], name
        for waited, how in service.get("depends_on", {}).items():
            finishes = waited in {"topics", "migrate"}
            assert how["condition"] == ("service_completed_successfully" if finishes else "service_healthy"), name


def test_the_servers_are_those_of_the_lab() -> None:
    from lab.containers import KAFKA_IMAGE, POSTGRES_IMAGE  # it takes a second, which every worker would spend

    services = _configured()
    assert services["kafka"]["image"] == KAFKA_IMAGE
    assert services["postgres"]["image"] == POSTGRES_IMAGE


def test_one_image_is_built_once_and_never_asked_for_elsewhere() -> None:
    services = _configured("--profile", "*")
    assert {name for name, service in services.items() if "build" in service} == {"topics"}
    assert "topics" in _configured("--env-file", os.devnull)
    for name in OURS:
        assert services[name]["image"] == f"gsc-stream:{version('gsc-stream')}", name
        assert services[name]["pull_policy"] == "never", name


def test_what_runs_for_long_comes_back_after_a_restart_of_the_machine() -> None:
    services = _configured("--profile", "*")
    again = {name for name, service in services.items() if service.get("restart") == "unless-stopped"}
    assert again == set(services) - {"topics", "migrate", "gsc-stream"}


def test_what_the_simulator_gave_is_good_after_its_restart(folder: Path) -> None:
    port = free_port()
    with _simulator(folder, port):
        given = _given(folder)
    assert _given(folder) == given
    with _simulator(folder, port):
        assert _given(folder) == given
    assert {"catalog.yaml", "reader-1.json", "reader-2.json"} <= set(given)


def _given(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (*folder.glob("catalog*"), *folder.glob("reader-*"))}


def test_a_catalog_from_before_is_not_taken_for_a_simulator_that_serves(folder: Path) -> None:
    catalog = folder / "catalog.yaml"
    catalog.write_text("from before")
    with socket() as occupied:
        occupied.bind(("127.0.0.1", 0))
        occupied.listen()
        command = [sys.executable, "-m", "lab.simulator_service", folder, "--port", str(occupied.getsockname()[1])]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=inherited_environment(), timeout=READY_S
        )
    assert done.returncode == 2, done.stderr
    assert not catalog.exists()


@pytest.fixture
def environment(servers: Servers, dsn: str, topic_prefix: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Each service's environment of compose, with the hosts of the lab; the catalog is written by the simulator."""
    port = free_port()
    with _simulator(folder, port) as settings:
        yield {
            **settings,
            "GSC_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
            "GSC_POSTGRES_DSN": dsn,
            "GSC_API_ROOT": f"http://127.0.0.1:{port}",
            "GSC_CATALOG": str(folder / "catalog.yaml"),
            "GSC_TOPIC_PREFIX": topic_prefix,
        }


@contextmanager
def _simulator(folder: Path, port: int) -> Iterator[dict[str, str]]:
    """Compose's simulator, as a process that serves; yields what compose sets for it."""
    service = _configured()["simulator"]
    assert service["entrypoint"][1:] == ["-m", "lab.simulator_service"]
    root = f"http://127.0.0.1:{port}"
    replaced = {"/etc/gsc-stream": str(folder), "8090": str(port), "http://simulator:8090": root}
    arguments = [replaced.get(argument, argument) for argument in service["command"]]
    command = [sys.executable, "-m", "lab.simulator_service", *arguments]
    log = folder / "serving.log"
    log.unlink(missing_ok=True)  # the output of an earlier run
    process = Process(Command("the simulator", command, log, inherited_environment()))
    try:
        process.await_ready(lambda: root in log.read_text(), READY_S)
        yield {**inherited_environment(), **service["environment"]}
    finally:
        process.stop()


async def test_every_command_of_ours_starts(environment: dict[str, str], folder: Path) -> None:
    services = _configured()
    for name in ("topics", "migrate"):
        command = [_gsc_stream(), *services[name]["command"]]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    for name in ("producer", "fetcher", "sink"):
        port = free_port()
        command = [_gsc_stream(), *services[name]["command"]]
        process = Process(Command(name, command, folder / f"{name}.log", {**environment, "GSC_HTTP_PORT": str(port)}))
        try:
            await until(partial(is_ready, port), READY_S, f"{name} ready")
        finally:
            process.stop()


def _gsc_stream() -> str:
    return os.fspath(Path(sys.executable).with_name("gsc-stream"))
