"""Dashboards and alerts, against the catalogue of metrics and the run books; and each alert where it must fire."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.monitoring.dashboards import render
from lab.monitoring.panels import BOARDS
from pipeline.metric_catalog import METRICS
from support.tools import promtool

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "gsc-stream"
ALERTS: list[dict[str, Any]] = yaml.safe_load((CHART / "alerts/alerts.yaml").read_text())["groups"][0]["rules"]
NAMES = {metric.name for metric in METRICS}
QUERIES = [query.expr for board in BOARDS for panel in board.panels for query in panel.queries]
QUERIES += [alert["expr"] for alert in ALERTS]


def _metrics(query: str) -> set[str]:
    found = re.findall(r"\bgsc_[a-z_]+", query)
    return {name if name in NAMES else re.sub("_(bucket|count|sum)$", "", name) for name in found}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_the_dashboards_are_those_of_the_panels(board: Any) -> None:
    text = (CHART / "dashboards" / f"{board.name}.json").read_text()
    assert text == render(board), "run `make dashboards`"
    assert json.loads(text)["uid"] == f"gsc-stream-{board.name}"


def test_there_are_no_other_dashboards() -> None:
    assert {path.stem for path in (CHART / "dashboards").iterdir()} == {board.name for board in BOARDS}


def test_every_metric_is_looked_at_and_none_is_made_up() -> None:
    assert set.union(*map(_metrics, QUERIES)) == NAMES


def test_every_alert_has_a_run_book_and_every_threshold_is_used() -> None:
    headings = re.findall(r"^#+ (.*)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) for heading in headings}
    for alert in ALERTS:
        assert alert["annotations"]["runbook"].removeprefix("docs/operations.md#") in anchors, alert["alert"]
    thresholds = yaml.safe_load((CHART / "alerts/thresholds.yaml").read_text())["groups"][0]["rules"]
    for threshold in thresholds:
        assert sum(f"min({threshold['record']})" in alert["expr"] for alert in ALERTS) == 1


def test_every_alert_fires_where_it_must_and_only_there(folder: Path) -> None:
    for path in (*(CHART / "alerts").iterdir(), Path(__file__).with_name("alerts_test.yaml")):
        shutil.copy(path, folder)
    cases = yaml.safe_load((folder / "alerts_test.yaml").read_text())["tests"]
    assert {case["name"] for case in cases} >= {
        f"{alert['alert']} {does}"
        for alert in ALERTS
        for does in ("fires", "stays quiet")
        if (alert["alert"], does) != ("GscDeadMansSwitch", "stays quiet")
    }
    done = subprocess.run(
        [promtool.path(), "test", "rules", folder / "alerts_test.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
