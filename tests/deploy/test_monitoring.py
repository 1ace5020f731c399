"""Dashboards and alerts, against the catalogue of metrics and the run books; and each alert where it must fire."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.monitoring.board import VARIABLES, scoped
from lab.monitoring.dashboards import render
from lab.monitoring.panels import BOARDS
from pipeline.metric_catalog import METRICS
from support.chart import of_kind, rendered
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


def test_every_dashboard_is_filtered_by_namespace_instance_and_credential() -> None:
    for board in BOARDS:
        content = json.loads(render(board))
        assert [item["name"] for item in content["templating"]["list"]] == ["datasource", *VARIABLES]
        for panel in content["panels"]:
            for target in panel["targets"]:
                selectors = re.findall(r"\b(?:(?:gsc|process)_[a-z_]+|up)(?:\{[^}]*\})?", target["expr"])
                assert selectors, target["expr"]
                for selector in selectors:
                    assert 'namespace=~"$namespace"' in selector, selector
                    assert 'instance=~"$instance"' in selector, selector


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("gsc_halts_active", 'gsc_halts_active{namespace=~"$namespace",instance=~"$instance"}'),
        ('up{job="x"}', 'up{job="x",namespace=~"$namespace",instance=~"$instance"}'),
        (
            "sum by (credential) (gsc_tokens)",
            'sum by (credential) (gsc_tokens{namespace=~"$namespace",instance=~"$instance",credential=~"$credential"})',
        ),
    ],
)
def test_a_metric_is_restricted_by_the_variables_that_it_has_as_labels(query: str, expected: str) -> None:
    assert scoped(query) == expected


def test_no_panel_has_a_series_for_each_credential() -> None:
    for board in BOARDS:
        for panel in board.panels:
            for query in panel.queries:
                if "{{credential}}" in query.legend:
                    assert re.match(r"(topk|bottomk)\(10, ", query.expr), panel.title


def test_tiles_have_one_number_and_graphs_by_credential_are_of_now_or_have_time() -> None:
    panels = [panel for board in BOARDS for panel in json.loads(render(board))["panels"]]
    assert {"stat", "bargauge", "timeseries", "state-timeline"} == {panel["type"] for panel in panels}
    for panel in panels:
        instant = {target.get("instant", False) for target in panel["targets"]}
        assert instant == {panel["type"] in {"stat", "bargauge"}}, panel["title"]
    thresholds = [panel["fieldConfig"]["defaults"].get("thresholds") for panel in panels if panel["type"] == "stat"]
    assert all(steps["steps"][0]["value"] is None for steps in thresholds if steps)
    assert sum(bool(steps) for steps in thresholds) > 10


SERIES = {
    'gsc_publishing_paused{credential="full for 30 minutes"}': "0x89 1x30",
    'gsc_publishing_paused{credential="first seen 10 minutes ago"}': "_x110 1x10",
    'gsc_publishing_paused{credential="has room"}': "1x110 0x10",
    'gsc_unfinished_pages{credential="slow"}': "1200x120",
    'gsc_calls_total{credential="slow",outcome="done"}': "0+60x120",
    'gsc_calls_total{credential="slow",outcome="throttled"}': "0+600x120",
}
ANSWERS = {
    "Share of the queue full since (top 10)": {"full for 30 minutes": 1860, "first seen 10 minutes ago": 600},
    "Done in, by credential (top 10)": {"slow": 1200},  # 1,200 pages, one call a second
    "Pages left, by credential (top 10)": {"slow": 1200},
}


def test_the_panels_of_progress_answer_since_when_and_until_when(folder: Path) -> None:
    queries = {panel.title: panel.queries[0].expr for board in BOARDS for panel in board.panels}
    expected = [
        {
            "expr": queries[title],
            "eval_time": "120m",
            "exp_samples": [{"labels": f'{{credential="{name}"}}', "value": value} for name, value in values.items()],
        }
        for title, values in ANSWERS.items()
    ]
    series = [{"series": name, "values": values} for name, values in SERIES.items()]
    case = {"interval": "1m", "input_series": series, "promql_expr_test": expected}
    _check_rules(folder, {"rule_files": [], "tests": [case]})


def test_tiles_fill_a_row() -> None:
    for board in BOARDS:
        panels = json.loads(render(board))["panels"]
        widths = [panel["gridPos"]["w"] for panel in panels if panel["type"] == "stat"]
        assert sum(widths) in {0, 24}, board.name


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
        used = sum(f"min by (namespace) ({threshold['record']})" in alert["expr"] for alert in ALERTS)
        assert used == 1 or threshold["record"] == "gsc:installation"


SERVICES = ("producer", "fetcher", "sink")


def _installation(namespace: str, folder: Path, thresholds: dict[str, float], **values: Any) -> list[str]:
    """Write the rules of a release in a namespace; return their files."""
    alerts = {"alerts": {"enabled": True, "thresholds": thresholds}}
    files = []
    for rule in of_kind(rendered({**alerts, **values}, namespace=namespace), "PrometheusRule"):
        path = folder / f"{namespace}-{rule['metadata']['name']}.yaml"
        path.write_text(yaml.safe_dump(rule["spec"]))
        files.append(path.name)
    return files


def test_two_installations_in_one_prometheus_raise_no_alert_for_each_other(folder: Path) -> None:
    """`a` has no fetcher, old batches and a short threshold; `b` is well, and has the usual one."""
    ours = _installation("a", folder, {"batch_age_seconds": 60}, fullnameOverride="search")
    theirs = [name for name in _installation("b", folder, {}) if "thresholds" in name]
    series = {
        **{f'gsc_service_info{{namespace="a",service="{name}"}}': "1x40" for name in SERVICES if name != "fetcher"},
        **{f'gsc_service_info{{namespace="b",service="{name}"}}': "1x40" for name in SERVICES},
        **{f'gsc_producer_leader{{namespace="{name}",instance="{name}"}}': "1x40" for name in "ab"},
        **{f'gsc_lag_seconds{{namespace="{name}",instance="{name}",group="fetcher"}}': "500x40" for name in "ab"},
        **{
            f'kube_deployment_status_replicas_unavailable{{namespace="{namespace}",deployment="{name}"}}': "1x40"
            for namespace, name in (("a", "search-sink"), ("a", "other-sink"), ("c", "search-sink"))
        },
    }
    expected = {
        "GscBatchesOld": ["a"], "GscNoFetcher": ["a"], "GscNoSink": [], "GscNoLeader": [],
        "GscReplicasUnavailable": ["a"], "GscDeadMansSwitch": ["a", "b"],
    }  # fmt: skip
    counts = [
        {
            "expr": f'count by (namespace) (ALERTS{{alertname="{name}",alertstate="firing"}})',
            "eval_time": "35m",
            "exp_samples": [{"labels": f'{{namespace="{namespace}"}}', "value": 1} for namespace in namespaces],
        }
        for name, namespaces in expected.items()
    ]
    case = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": counts,
    }
    _check_rules(folder, {"rule_files": [*ours, *theirs], "evaluation_interval": "1m", "tests": [case]})


def _check_rules(folder: Path, cases: dict[str, Any]) -> None:
    (folder / "cases.yaml").write_text(yaml.safe_dump(cases))
    command = [promtool.path(), "test", "rules", folder / "cases.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


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
    _check_rules(folder, yaml.safe_load((folder / "alerts_test.yaml").read_text()))
