"""One catalogue of metrics; every service serves its part of it.

Labels have few values: partitions, credentials, outcomes; never properties, of which there may be thousands.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

Service = Literal["producer", "fetcher", "sink"]
Instrument = TypeVar("Instrument", Counter, Gauge, Histogram)

PRODUCER: tuple[Service, ...] = ("producer",)
FETCHER: tuple[Service, ...] = ("fetcher",)
SINK: tuple[Service, ...] = ("sink",)
READERS = FETCHER + SINK
HALTING = PRODUCER + FETCHER
ALL = PRODUCER + FETCHER + SINK

_SCOPES = ("property", "credential", "project")
_DEATHS = (
    "undecodable",
    "invalid_request",
    "unknown_run",
    "unstorable",
    "unknown_credential",
    "credential",
    "permission",
    "bad_request",
    "unexpected_rows",
    "too_large",
    "attempts_exhausted",
)
_WAITS = ("tokens", "concurrency", "http", "publishing", "backpressure", "control", "lease", "idle")


@dataclass(frozen=True)
class Metric:
    """A line of the catalogue."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    services: tuple[Service, ...]
    """Those that serve it."""
    help: str
    known: tuple[str, ...] = ()
    """Values of the only label that are there from the start: a counter that appears at 1 has no increase."""


METRICS = (
    Metric("gsc_messages_consumed_total", "counter", ("topic",), ALL, "Messages read from a topic."),
    Metric("gsc_messages_published_total", "counter", ("topic",), ALL, "Messages that the broker has acknowledged."),
    Metric(
        "gsc_rebalances_total",
        "counter",
        ("kind",),
        READERS,
        "Partitions assigned, revoked or lost, by kind.",
        ("assigned", "revoked", "lost"),
    ),
    Metric("gsc_partitions_held", "gauge", (), READERS, "Partitions assigned to this process."),
    Metric("gsc_commits_total", "counter", ("outcome",), READERS, "Offset commits: ok or failed.", ("ok", "failed")),
    Metric("gsc_dead_letters_total", "counter", ("reason",), ALL, "Messages put into the dead letters.", _DEATHS),
    Metric(
        "gsc_control_confirmed_timestamp_seconds",
        "gauge",
        (),
        HALTING,
        "When the control topic was last read to its end.",
    ),
    Metric("gsc_halts_active", "gauge", (), HALTING, "Scopes that are halted now."),
    Metric(
        "gsc_oldest_halt_seconds", "gauge", (), HALTING, "Age of the oldest halt without an end; 0 when there is none."
    ),
    Metric("gsc_calls_total", "counter", ("credential", "outcome"), FETCHER, "Calls to Search Console, by outcome."),
    Metric(
        "gsc_quota_refusals_total",
        "counter",
        ("kind",),
        FETCHER,
        "Quota answers of Google, by the kind of scope.",
        _SCOPES,
    ),
    Metric(
        "gsc_quota_warnings_total",
        "counter",
        ("kind",),
        FETCHER,
        "Times that the calls of a minute reached 80 % of a hard quota, by the kind of scope.",
        _SCOPES,
    ),
    Metric("gsc_call_seconds", "histogram", (), FETCHER, "Seconds from a call's start to its whole answer."),
    Metric("gsc_calls_in_flight", "gauge", (), FETCHER, "Calls under way."),
    Metric(
        "gsc_batches_uncommitted",
        "gauge",
        (),
        FETCHER,
        "Batches called for, whose end is not committed: a kill repeats them.",
    ),
    Metric(
        "gsc_calls_last_minute",
        "gauge",
        ("credential",),
        FETCHER,
        "Calls of a credential in the last minute, by this process.",
    ),
    Metric(
        "gsc_calls_allowed_per_minute",
        "gauge",
        ("credential",),
        FETCHER,
        "What the credential's bucket lets through now.",
    ),
    Metric(
        "gsc_tokens", "gauge", ("credential",), FETCHER, "Calls that the credential's bucket would let through at once."
    ),
    Metric(
        "gsc_property_calls_last_minute_max", "gauge", (), FETCHER, "Calls of the busiest property in the last minute."
    ),
    Metric(
        "gsc_property_utilisation_max",
        "gauge",
        (),
        FETCHER,
        "Calls of the last minute over what the bucket lets through, of the property where that is most.",
    ),
    Metric(
        "gsc_page_seconds", "histogram", (), FETCHER, "Seconds from a call's start until its page is with the broker."
    ),
    Metric(
        "gsc_wait_seconds_total",
        "counter",
        ("reason",),
        FETCHER,
        "Seconds in which no call was started, by what was waited for.",
        _WAITS,
    ),
    Metric("gsc_queued_batches", "gauge", (), FETCHER, "Batches read and not started."),
    Metric(
        "gsc_pages_total",
        "counter",
        ("outcome",),
        FETCHER,
        "Pages that the fetcher is done with, by outcome.",
        ("rows", "dead", "deferred"),
    ),
    Metric(
        "gsc_sink_lag_messages",
        "gauge",
        (),
        FETCHER,
        "Results that the sink has not committed, as the fetcher sees it.",
    ),
    Metric(
        "gsc_rows_total",
        "counter",
        ("outcome",),
        SINK,
        "Rows applied, skipped (not newer), deleted, or kept though they vanished.",
        ("applied", "skipped", "deleted", "kept"),
    ),
    Metric("gsc_pages_applied_total", "counter", (), SINK, "Pages whose rows were committed to PostgreSQL."),
    Metric("gsc_days_completed_total", "counter", (), SINK, "Days of which every page is applied."),
    Metric("gsc_transaction_seconds", "histogram", (), SINK, "Seconds of the sink's transactions."),
    Metric("gsc_pages_published_total", "counter", (), PRODUCER, "Pages that the planner has published."),
    Metric(
        "gsc_publishing_allowed",
        "gauge",
        (),
        PRODUCER,
        "1 while the planner may publish, 0 while the fetchers' lag is high.",
    ),
    Metric("gsc_publisher_leader", "gauge", (), PRODUCER, "1 in the one planner that publishes."),
    Metric("gsc_lag_messages", "gauge", ("group", "partition"), PRODUCER, "Messages that a group has not committed."),
    Metric(
        "gsc_lag_seconds",
        "gauge",
        ("group", "partition"),
        PRODUCER,
        "Age of the oldest message that a group has not committed.",
    ),
    Metric(
        "gsc_partition_state",
        "gauge",
        ("partition", "state"),
        PRODUCER,
        "1 for how a partition of the batches stands, else 0.",
    ),
    Metric(
        "gsc_drain_seconds",
        "gauge",
        ("pace",),
        PRODUCER,
        "Seconds of work: at the pace of the last minute (`current`), and at the quota.",
        ("current", "quota"),
    ),
    Metric(
        "gsc_ledger_pages",
        "gauge",
        ("state",),
        PRODUCER,
        "Pages of the ledger by state, of the runs of the last 30 days.",
    ),
    Metric(
        "gsc_ledger_days",
        "gauge",
        ("kind",),
        PRODUCER,
        "Days of series: complete, owed, truncated, may_change, vanished_kept.",
    ),
    Metric(
        "gsc_oldest_pending_seconds",
        "gauge",
        ("priority",),
        PRODUCER,
        "Age of the oldest run with pages that are owed or on their way; 0 when there is none.",
    ),
    Metric(
        "gsc_newest_day_age_days",
        "gauge",
        ("series",),
        PRODUCER,
        "Days from a series' newest complete day to today: of the series most behind (`last`) and of the `middle` one.",
    ),
    Metric("gsc_observed_timestamp_seconds", "gauge", (), PRODUCER, "When lags and ledger were last read."),
)

_KINDS = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}


def _made(metric: Metric) -> Counter | Gauge | Histogram:
    made: Counter | Gauge | Histogram = _KINDS[metric.kind](metric.name, metric.help, metric.labels)
    for value in metric.known:
        made.labels(value)
    return made


_instruments = {metric.name: _made(metric) for metric in METRICS}


def counter(name: str) -> Counter:
    """The counter of that name in the catalogue."""
    return _instrument(name, Counter)


def gauge(name: str) -> Gauge:
    """The gauge of that name in the catalogue."""
    return _instrument(name, Gauge)


def histogram(name: str) -> Histogram:
    """The histogram of that name in the catalogue."""
    return _instrument(name, Histogram)


def _instrument(name: str, kind: type[Instrument]) -> Instrument:
    instrument = _instruments[name]
    if not isinstance(instrument, kind):
        raise TypeError(f"{name} is a {type(instrument).__name__}")
    return instrument


def exposition(service: Service) -> bytes:
    """What a service serves: its part of the catalogue, and the process; in Prometheus' form."""
    return generate_latest(_Part(service))


class _Part(Collector):
    """A registry without the metrics that are other services'."""

    def __init__(self, service: Service) -> None:
        self._hidden = {metric.name.removesuffix("_total") for metric in METRICS if service not in metric.services}

    def collect(self) -> Iterator[Family]:
        return (family for family in REGISTRY.collect() if family.name not in self._hidden)
