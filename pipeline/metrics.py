"""The metrics of the catalogue as Prometheus instruments. Each service exposes its own part."""

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

from pipeline.metric_catalogue import ALL, METRICS, Metric, Service

Instrument = TypeVar("Instrument", Counter, Gauge, Histogram)

_KINDS = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
_registries = {service: CollectorRegistry() for service in ALL}


def _create(metric: Metric) -> Counter | Gauge | Histogram:
    instrument: Counter | Gauge | Histogram = _KINDS[metric.kind](
        metric.name, metric.help, metric.labels, registry=None
    )
    for value in metric.known:
        instrument.labels(value)
    for service in metric.services:
        _registries[service].register(instrument)
    return instrument


_instruments = {metric.name: _create(metric) for metric in METRICS}
for _registry in _registries.values():
    for _collector in (GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR):
        _registry.register(_collector)


def counter(name: str) -> Counter:
    """Return the counter with that name in the catalogue."""
    return _instrument(name, Counter)


def gauge(name: str) -> Gauge:
    """Return the gauge with that name in the catalogue."""
    return _instrument(name, Gauge)


def histogram(name: str) -> Histogram:
    """Return the histogram with that name in the catalogue."""
    return _instrument(name, Histogram)


def _instrument(name: str, kind: type[Instrument]) -> Instrument:
    instrument = _instruments[name]
    if not isinstance(instrument, kind):
        raise TypeError(f"{name} is a {type(instrument).__name__}")
    return instrument


def exposition(service: Service) -> bytes:
    """Return the metrics of a service and of its process, in Prometheus' text format."""
    return generate_latest(_registries[service])
