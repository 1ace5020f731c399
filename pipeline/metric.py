"""What a metric is, and which services expose it."""

from dataclasses import dataclass
from typing import Literal

Service = Literal["producer", "fetcher", "sink"]

PRODUCER: tuple[Service, ...] = ("producer",)
FETCHER: tuple[Service, ...] = ("fetcher",)
SINK: tuple[Service, ...] = ("sink",)
GROUP_MEMBERS = FETCHER + SINK
CONTROL_READERS = PRODUCER + FETCHER
ALL = PRODUCER + FETCHER + SINK


@dataclass(frozen=True)
class Metric:
    """One metric."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    services: tuple[Service, ...]
    """The services that expose it."""
    help: str
    initial: tuple[str, ...] = ()
    """Values of the only label that are exposed from the start. Prometheus sees no increase in a counter that first
    appears with the value 1."""
