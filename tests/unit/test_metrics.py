"""The catalogue of metrics, against the table in the docs; and the numbers that are worked out for it."""

import re
from pathlib import Path

import pytest

from pipeline.metrics import METRICS, Service, counter, exposition, gauge
from producer.lag_exporter import CompletionRate, seconds_at_quota

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
UNBOUNDED = {"property", "batch", "run", "url"}


def test_the_docs_list_exactly_the_catalogue() -> None:
    lines = [line for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    assert lines == [
        f"| `{m.name}` | {m.kind} | {', '.join(m.labels)} | {', '.join(m.services)} | {m.help} |" for m in METRICS
    ]


def test_names_contain_kind_and_unit_and_labels_are_bounded() -> None:
    for metric in METRICS:
        assert re.fullmatch(r"gsc_[a-z0-9_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.kind != "histogram" or metric.name.endswith("_seconds")
        assert not UNBOUNDED & set(metric.labels)
        assert metric.help.endswith(".")
    assert len({metric.name for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize("service", ["producer", "fetcher", "sink"])
def test_a_service_exposes_its_own_metrics_and_their_known_labels(service: Service) -> None:
    text = exposition(service).decode()
    shown = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE gsc_")}
    assert shown >= {metric.name for metric in METRICS if service in metric.services}
    assert not shown & {metric.name for metric in METRICS if service not in metric.services}
    assert 'gsc_dead_letters_total{reason="undecodable"}' in text
    assert "process_resident_memory_bytes" in text


def test_a_metric_of_another_kind_is_an_error() -> None:
    with pytest.raises(TypeError, match="gsc_calls_total is a Counter"):
        gauge("gsc_calls_total")
    with pytest.raises(KeyError):
        counter("gsc_nothing_total")


def test_remaining_time_at_the_rate_of_the_last_minute() -> None:
    pace = CompletionRate()
    assert pace.seconds_left(0.0, 100, 50) == float("inf")
    assert pace.seconds_left(10.0, 200, 50) == 5.0
    assert pace.seconds_left(20.0, 200, 0) == 0.0
    for number in range(3, 20):
        left = pace.seconds_left(10.0 * number, 200, 30)
    assert left == float("inf")  # nothing has moved for a minute


def test_remaining_time_at_the_quota_is_that_of_the_slowest_credential() -> None:
    assert seconds_at_quota({"a": 960, "b": 240}, {"a": 960.0, "b": 120.0}.__getitem__) == 120.0
    assert seconds_at_quota({}, lambda _: 1.0) == 0.0
