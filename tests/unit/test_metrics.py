"""The metric catalog and the table in the docs; and the exposition."""

import re
from pathlib import Path

import pytest

from pipeline.metric import Service
from pipeline.metric_catalog import METRICS
from pipeline.metrics import counter, exposition, gauge, histogram

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
UNBOUNDED = {"property", "batch", "run", "url"}


def test_the_table_in_the_docs_equals_the_catalog() -> None:
    lines = [line for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    assert lines == [
        f"| `{m.name}` | {m.kind} | {', '.join(m.labels)} | {', '.join(m.services)} | {m.help} |" for m in METRICS
    ]


def test_names_have_their_kind_and_unit_and_labels_few_values() -> None:
    for metric in METRICS:
        assert re.fullmatch(r"gsc_[a-z0-9_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.kind != "histogram" or metric.name.endswith("_seconds")
        assert not UNBOUNDED & set(metric.labels)
        assert metric.help.endswith(".")
    assert len({metric.name for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize("service", ["producer", "fetcher", "sink"])
def test_a_service_exposes_its_own_metrics_and_those_of_its_process(service: Service) -> None:
    text = exposition(service).decode()
    exposed = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE gsc_")}
    assert exposed >= {metric.name for metric in METRICS if service in metric.services}
    assert not exposed & {metric.name for metric in METRICS if service not in metric.services}
    assert 'gsc_dead_letters_total{reason="undecodable"}' in text
    assert {"process_resident_memory_bytes", "python_info", "python_gc_collections_total"} <= {
        line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")
    }


def test_a_counted_value_is_exposed() -> None:
    def kept() -> float:
        lines = exposition("sink").decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith('gsc_rows_total{outcome="kept"} '))

    before = kept()
    counter("gsc_rows_total").labels("kept").inc(3)
    assert kept() == before + 3


def test_a_metric_is_looked_up_by_its_kind_and_name() -> None:
    with pytest.raises(TypeError, match="gsc_calls_total is a Counter"):
        gauge("gsc_calls_total")
    with pytest.raises(KeyError):
        counter("gsc_nothing_total")
    histogram("gsc_call_seconds").observe(0.5)
