"""The exporter removes what it could not read for a while."""

from collections.abc import Iterator

import pytest

from pipeline.clock import monotonic
from pipeline.metrics import exposition, gauge
from producer.lag_exporter import FRESH_S, LAG_GAUGES, LEDGER_GAUGES, LagExporter


@pytest.fixture
def exporter() -> Iterator[LagExporter]:
    gauge("gsc_lag_messages").labels("fetcher", 0).set(7)
    gauge("gsc_ledger_pages").labels("pending").set(9)
    yield LagExporter(None, (), None, lambda _: 960.0)  # type: ignore[arg-type] # nothing is read
    for name in (*LAG_GAUGES, *LEDGER_GAUGES):
        gauge(name).clear()


def exported() -> set[str]:
    lines = exposition("producer").decode().splitlines()
    return {line.partition("{")[0] for line in lines if line.startswith(("gsc_lag_messages{", "gsc_ledger_pages{"))}


def test_values_are_exported_while_they_are_fresh(exporter: LagExporter) -> None:
    exporter.clear_stale(monotonic() + FRESH_S - 5)
    assert exported() == {"gsc_lag_messages", "gsc_ledger_pages"}


def test_values_that_were_not_read_for_a_while_are_not_exported(exporter: LagExporter) -> None:
    exporter.clear_stale(monotonic() + FRESH_S + 5)
    assert exported() == set()
