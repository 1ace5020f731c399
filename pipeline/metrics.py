"""The instruments of the metric catalog, and their exposition for each service."""

import asyncio
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

from pipeline.metric import Metric, Service
from pipeline.metric_catalog import METRICS

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


class Expiry:
    """Removes the values of gauges when they were not renewed in time, whatever the task that sets them waits for."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)
        self._timer: asyncio.TimerHandle | None = None

    def renew(self, seconds: float) -> None:
        """Keep the values for some seconds from now on. Needs a running event loop."""
        self._cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, clear_gauges, self._names)

    def clear(self) -> None:
        """Remove the values now."""
        self._cancel()
        clear_gauges(self._names)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


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
