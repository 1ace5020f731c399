"""Dashboards, panels and queries as values, and the parts of queries that several panels use."""

import re
from dataclasses import dataclass
from typing import Literal

from pipeline.metric_catalog import METRICS

JOB = 'job=~".*gsc-stream.*"'
"""Selects the services' scrapes: the job is `gsc-stream` in compose, and contains that name in Kubernetes."""
TOP = 10
"""Series of a panel by credential: an agency may have hundreds."""
VARIABLES = ("namespace", "instance", "credential")
"""Labels that every dashboard can be filtered by."""

Kind = Literal["lines", "stacked", "states", "stat", "bars"]
"""Lines; lines stacked as areas; a timeline of states; one number, now; a bar for each series, now."""
Step = tuple[float, str]
"""From this value on, a panel has this colour."""

_BY_CREDENTIAL = frozenset(metric.name for metric in METRICS if "credential" in metric.labels)
_SELECTOR = re.compile(r"\b(gsc_[a-z_]+|process_[a-z_]+|up)\b(\{[^}]*\})?")


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
    steps: tuple[Step, ...] = ()
    """In ascending order. Below the first step the colour is green."""


@dataclass(frozen=True)
class Board:
    """A dashboard."""

    name: str
    """The name of its file, and part of its uid."""
    title: str
    description: str
    panels: tuple[Panel, ...]


def scoped(expr: str) -> str:
    """Return the query with every metric restricted to the values of the dashboard's variables that it has as labels.

    The value "All" is `.*`, which also selects series without the label, such as the namespace outside Kubernetes.
    """
    return _SELECTOR.sub(_scope, expr)


def _scope(match: re.Match[str]) -> str:
    name, labels = match[1], (match[2] or "{}")[1:-1]
    variables = VARIABLES if name in _BY_CREDENTIAL else VARIABLES[:-1]
    matchers = [f'{variable}=~"${variable}"' for variable in variables]
    return f"{name}{{{','.join([labels, *matchers] if labels else matchers)}}}"


def leading(metric: str) -> str:
    """Return the series of a metric of the leader: a standby may have old values."""
    return f"({metric} and on (instance) gsc_producer_leader == 1)"


def top(expr: str) -> str:
    """Return the TOP largest series of a query."""
    return f"topk({TOP}, {expr})"


def rate(counter: str, by: str) -> str:
    """Return the query for a counter's increase a second, by a label."""
    return f"sum by ({by}) (rate({counter}[$__rate_interval]))"


def quantiles(histogram: str) -> tuple[Query, ...]:
    """Return the queries for the median and the 99th percentile of a histogram."""
    buckets = f"sum by (le) (rate({histogram}_bucket[$__rate_interval]))"
    return tuple(Query(f"histogram_quantile({q}, {buckets})", name) for q, name in ((0.5, "p50"), (0.99, "p99")))
