"""docker-compose.yml: valid, with everything pinned; and each of its commands of ours starts, with its settings."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lab.choosing import Servers
from lab.processes import Command, Process, free_port
from lab.services import inherited
from support.pipeline import is_ready
from support.tools import compose
from support.waiting import until

ROOT = Path(__file__).parents[2]
OURS = {"simulator", "topics", "migrate", "producer", "fetcher", "sink", "gsc-stream"}
READY_S = 40.0


def _configured(*options: str, **environment: str) -> dict[str, Any]:
    command = [compose.path(), "--project-directory", ROOT, *options, "config", "--format", "json"]
    whole = {**inherited(), **environment}
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
        if name in OURS:
            assert service["read_only"], name
            assert service["user"] == "10001:10001", name
            assert service["cap_drop"] == ["ALL"], name
        if name not in {"topics", "migrate", "gsc-stream"}:
            assert service["healthcheck"]["test"], name
        for waited, how in service.get("depends_on", {}).items():
            finishes = waited in {"topics", "migrate"}
            assert how["condition"] == ("service_completed_successfully" if finishes else "service_healthy"), name


@pytest.fixture
def environment(servers: Servers, dsn: str, topic_prefix: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Each service's environment of compose, with the hosts of the lab; the catalog is written by the simulator."""
    port = free_port()
    root = f"http://127.0.0.1:{port}"
    service = _configured()["simulator"]
    assert service["entrypoint"][1:] == ["-m", "lab.serving"]
    replaced = {"/etc/gsc-stream": str(folder), "8090": str(port), "http://simulator:8090": root}
    arguments = [replaced.get(argument, argument) for argument in service["command"]]
    command = [sys.executable, "-m", "lab.serving", *arguments]
    process = Process(Command("the simulator", command, folder / "serving.log", inherited()))
    try:
        process.await_ready((folder / "catalog.yaml").exists, READY_S)
        yield {
            **inherited(),
            **service["environment"],
            "GSC_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
            "GSC_POSTGRES_DSN": dsn,
            "GSC_API_ROOT": root,
            "GSC_CATALOG": str(folder / "catalog.yaml"),
            "GSC_TOPIC_PREFIX": topic_prefix,
        }
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
