"""Every query of every panel and alert, asked of a real Prometheus that watches a pipeline at work."""

import re
from pathlib import Path
from typing import Any

import yaml

from lab.monitoring.panels import BOARDS
from lab.processes import free_port
from lab.scenario import Scenario
from lab.servers import Servers
from support.pipeline import running_pipeline, simulator_settings
from support.prometheus import watched
from support.wait import until

CHART = Path(__file__).parents[2] / "helm" / "gsc-stream"


def _queries() -> list[str]:
    panels = [query.expr for board in BOARDS for panel in board.panels for query in panel.queries]
    rules: list[dict[str, Any]] = [
        rule
        for path in (CHART / "alerts").glob("*.yaml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]
    # No alert fires while all is well, so this checks that the metrics it compares exist.
    compared = [re.sub(r" ([<>]) (?!.* [<>] )", r" \1 bool ", rule["expr"]) for rule in rules]
    return [query.replace("$__rate_interval", "30s") for query in (*panels, *compared)]


async def test_every_query_of_every_panel_and_alert_returns_data(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    ports = {name: free_port() for name in ("producer", "fetcher", "sink")}
    world = simulator_settings(Scenario(properties=2, latency_s=1.0))
    with running_pipeline(servers, dsn, topic_prefix, folder, world) as running:
        for name, port in ports.items():
            running.services.processes[name].stop()
            running.services.start(name, GSC_HTTP_PORT=str(port))
        with watched(ports, CHART / "alerts", folder) as watching:
            await running.request_sync(60)
            missing = set(_queries())

            async def all_answered() -> bool:
                missing.difference_update([query for query in missing if _has_numbers(watching.query(query))])
                return not missing

            try:
                await until(all_answered, 60, "an answer to every query")
            except AssertionError as error:
                raise AssertionError(f"no data: {sorted(missing)}") from error
            rules = watching.rules()
    assert len(rules) == 24
    assert set(rules.values()) == {"ok"}


def _has_numbers(series: list[Any]) -> bool:
    return any(found["value"][1] != "NaN" for found in series)
