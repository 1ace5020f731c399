"""A real Prometheus that scrapes a pipeline."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from lab.processes import Command, Process, free_port
from support.tools import prometheus

READY_S = 30.0


class Prometheus:
    """A client of Prometheus: instant queries, and the state of the rules."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url)

    def close(self) -> None:
        self._client.close()

    def ready(self) -> bool:
        try:
            return self._client.get("/-/ready").is_success
        except httpx.TransportError:
            return False

    def query(self, expression: str) -> list[Any]:
        """The series of an instant query."""
        answer = self._client.get("/api/v1/query", params={"query": expression})
        assert answer.is_success, (expression, answer.text)
        found: list[Any] = answer.json()["data"]["result"]
        return found

    def rules(self) -> dict[str, str]:
        """Each rule's health."""
        groups = self._client.get("/api/v1/rules").raise_for_status().json()["data"]["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}


@contextmanager
def watched(ports: Mapping[str, int], rules: Path, folder: Path) -> Iterator[Prometheus]:
    """Scrape these ports every second, and evaluate these rules."""
    port = free_port()
    targets = [{"targets": [f"127.0.0.1:{number}" for number in ports.values()]}]
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules / "*.yaml")],
        "scrape_configs": [{"job_name": "gsc-stream", "static_configs": targets}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    options = {"config.file": folder / "prometheus.yml", "storage.tsdb.path": folder / "tsdb"}
    reported = [f"--{name}={value}" for name, value in {**options, "web.listen-address": f"127.0.0.1:{port}"}.items()]
    process = Process(Command("Prometheus", [str(prometheus.path()), *reported], folder / "prometheus.log"))
    watching = Prometheus(f"http://127.0.0.1:{port}")
    try:
        process.await_ready(watching.ready, READY_S)
        yield watching
    finally:
        watching.close()
        process.stop()
