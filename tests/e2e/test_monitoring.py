"""Every query of every panel and alert, asked of a real Prometheus that watches a pipeline at work."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from lab.monitoring.panels import BOARDS
from lab.scenario import Scenario
from lab.search_console.settings import Fault
from lab.servers import Servers
from pipeline.clock import now
from pipeline.contracts.messages import Control
from pipeline.publisher import open_publisher, publish_control
from support.pipeline import running_pipeline, simulator_settings
from support.prometheus import watched
from support.wait import until

CHART = Path(__file__).parents[2] / "helm" / "gsc-stream"


RULES: list[dict[str, Any]] = [
    rule
    for path in (CHART / "alerts").glob("*.yaml")
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
ABSENT = ("kube_",)
"""Metrics of kube-state-metrics, which does not run here."""
HALT = Control(
    scope="credential:reader-2", state="halted", reason="test", actor="test", at=now(), until=now() + timedelta(hours=1)
)
"""Metrics of halted credentials have no value without one."""
DAYS = 400
"""More pages than the queue's shares hold for a while."""


def _queries() -> list[str]:
    panels = [query.expr for board in BOARDS for panel in board.panels for query in panel.queries]
    queries = (*panels, *(rule["expr"] for rule in RULES))
    return [_unfiltered(query) for query in queries if not any(name in query for name in ABSENT)]


def _unfiltered(query: str) -> str:
    """The query without its conditions: no alert fires while all is well, but what it looks at must exist."""
    query = query.replace("$__rate_interval", "30s").replace('priority="daily"', 'priority=~".+"')
    query = re.sub(r"^.*gsc:installation\) unless on \(namespace\) (\S+).*$", r"\1", query)
    return re.sub(r" (==|>=|<|>) ", r" \1 bool ", query)


async def test_every_query_of_every_panel_and_alert_returns_data(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    failing = Fault(kind="503", every=50)
    world = simulator_settings(Scenario(days=DAYS, rows=20, latency_s=1.0, full_days=False), faults=(failing,))
    with running_pipeline(servers, dsn, topic_prefix, folder, world, GSC_MAX_QUEUE_SIZE="60") as running:
        ports = await running.ports()
        with watched(ports, CHART / "alerts", folder) as watching:
            await running.request_sync(DAYS)
            async with open_publisher(running.setup.kafka, "test") as publisher:
                await publish_control(publisher, topic_prefix, HALT)
            missing = set(_queries())

            async def all_answered() -> bool:
                missing.difference_update([query for query in missing if _has_numbers(watching.query(query))])
                return not missing

            try:
                await until(all_answered, 150, "an answer to every query")
            except AssertionError as error:
                raise AssertionError(f"no data: {sorted(missing)}") from error
            rules = watching.rules()
    assert rules == {rule.get("alert", rule.get("record")): "ok" for rule in RULES}


def _has_numbers(series: list[Any]) -> bool:
    return any(found["value"][1] != "NaN" for found in series)
