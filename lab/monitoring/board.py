"""Dashboards, panels and queries as values, and the queries that several panels use."""

from dataclasses import dataclass
from typing import Literal

JOB = 'job=~".*gsc-stream.*"'
"""Selects the services' scrapes: the job is `gsc-stream` in compose, and contains that name in Kubernetes."""

Kind = Literal["lines", "stacked", "states"]
"""Lines, lines stacked as areas, or a timeline of states."""


@dataclass(frozen=True)
class Query:
    """A PromQL query, and the legend of its series."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """A graph of one or more queries; `unit` is one of Grafana's unit names."""

    title: str
    unit: str
    queries: tuple[Query, ...]
    description: str
    kind: Kind = "lines"


@dataclass(frozen=True)
class Board:
    """A dashboard."""

    name: str
    """The name of its file, and part of its uid."""
    title: str
    description: str
    panels: tuple[Panel, ...]


def rate(counter: str, by: str) -> str:
    """Return the query for a counter's increase a second, by a label."""
    return f"sum by ({by}) (rate({counter}[$__rate_interval]))"


def quantiles(histogram: str) -> tuple[Query, ...]:
    """Return the queries for the median and the 99th percentile of a histogram."""
    buckets = f"sum by (le) (rate({histogram}_bucket[$__rate_interval]))"
    return tuple(Query(f"histogram_quantile({q}, {buckets})", name) for q, name in ((0.5, "p50"), (0.99, "p99")))
