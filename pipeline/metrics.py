"""The instruments of the metric catalog, and their exposition for each service."""

from collections.abc import Iterable
from functools import cache
from typing import TypeVar

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from pipeline.metric_catalog import METRICS, Metric, Service

Instrument = TypeVar("Instrument", Counter, Gauge, Histogram)

_KINDS = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}


def _build(metric: Metric) -> Counter | Gauge | Histogram:
    instrument: Counter | Gauge | Histogram = _KINDS[metric.kind](
        metric.name, metric.help, metric.labels, registry=None
    )
    for value in metric.initial:
        instrument.labels(value)
    return instrument


_instruments = {metric.name: _build(metric) for metric in METRICS}


def counter(name: str) -> Counter:
    """Return the counter with this name in the metric catalog. Raises KeyError, or TypeError for another kind."""
    return _instrument(name, Counter)


def gauge(name: str) -> Gauge:
    """Return the gauge with this name in the metric catalog. Raises KeyError, or TypeError for another kind."""
    return _instrument(name, Gauge)


def clear_gauges(names: Iterable[str]) -> None:
    """Remove all values of gauges with labels: what is not known, or not true any more, is not exported."""
    for name in names:
        gauge(name).clear()


def histogram(name: str) -> Histogram:
    """Return the histogram with this name in the metric catalog. Raises KeyError, or TypeError for another kind."""
    return _instrument(name, Histogram)


def _instrument(name: str, kind: type[Instrument]) -> Instrument:
    instrument = _instruments[name]
    if not isinstance(instrument, kind):
        raise TypeError(f"{name} is a {type(instrument).__name__}")
    return instrument


def exposition(service: Service) -> bytes:
    """Return the metrics of a service, of its process and of Python, in Prometheus' text format."""
    return generate_latest(_registry(service))


@cache
def _registry(service: Service) -> CollectorRegistry:
    registry = CollectorRegistry()
    for collector in (GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR):
        registry.register(collector)
    for metric in METRICS:
        if service in metric.services:
            registry.register(_instruments[metric.name])
    return registry
