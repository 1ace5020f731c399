"""Every metric of every service, as data.

Labels have few values: partitions, credentials, outcomes; never properties, of which there may be thousands.
"""

from dataclasses import dataclass
from typing import Literal

Service = Literal["producer", "fetcher", "sink"]

PRODUCER: tuple[Service, ...] = ("producer",)
FETCHER: tuple[Service, ...] = ("fetcher",)
SINK: tuple[Service, ...] = ("sink",)
READERS = FETCHER + SINK
HALTING = PRODUCER + FETCHER
ALL = PRODUCER + FETCHER + SINK

_SCOPES = ("property", "credential", "project")
_DEAD_LETTER_REASONS = (
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
    """The definition of a metric."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    services: tuple[Service, ...]
    """The services that expose it."""
    help: str
    known: tuple[str, ...] = ()
    """Values of the only label that exist from the start: a counter that first appears at 1 shows no increase."""


METRICS = (
    Metric("gsc_messages_consumed_total", "counter", ("topic",), ALL, "Messages read from a topic."),
    Metric("gsc_messages_published_total", "counter", ("topic",), ALL, "Messages acknowledged by the broker."),
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
    Metric(
        "gsc_dead_letters_total",
        "counter",
        ("reason",),
        ALL,
        "Messages published to the dead-letter topic.",
        _DEAD_LETTER_REASONS,
    ),
    Metric(
        "gsc_control_confirmed_timestamp_seconds",
        "gauge",
        (),
        HALTING,
        "When the control topic was last read to its end.",
    ),
    Metric("gsc_halts_active", "gauge", (), HALTING, "Halted scopes."),
    Metric("gsc_oldest_halt_seconds", "gauge", (), HALTING, "Age of the oldest halt without an end; 0 without one."),
    Metric("gsc_calls_total", "counter", ("credential", "outcome"), FETCHER, "Calls to Search Console, by outcome."),
    Metric(
        "gsc_quota_refusals_total",
        "counter",
        ("kind",),
        FETCHER,
        "Calls refused by Google because a quota is spent, by the kind of scope.",
        _SCOPES,
    ),
    Metric(
        "gsc_quota_warnings_total",
        "counter",
        ("kind",),
        FETCHER,
        "How often the calls of a minute reached 80 % of a hard quota, by the kind of scope.",
        _SCOPES,
    ),
    Metric("gsc_call_seconds", "histogram", (), FETCHER, "Seconds from the start of a call to its complete answer."),
    Metric("gsc_calls_in_flight", "gauge", (), FETCHER, "Calls in flight."),
    Metric(
        "gsc_batches_uncommitted",
        "gauge",
        (),
        FETCHER,
        "Batches with a call whose result is not committed: a kill repeats them.",
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
        "Current rate of the credential's token bucket, in calls a minute.",
    ),
    Metric(
        "gsc_tokens",
        "gauge",
        ("credential",),
        FETCHER,
        "Tokens in the credential's bucket: calls that could start together.",
    ),
    Metric(
        "gsc_property_calls_last_minute_max", "gauge", (), FETCHER, "Calls of the busiest property in the last minute."
    ),
    Metric(
        "gsc_property_utilisation_max",
        "gauge",
        (),
        FETCHER,
        "Highest ratio of a property's calls in the last minute to the rate of its token bucket.",
    ),
    Metric(
        "gsc_page_seconds",
        "histogram",
        (),
        FETCHER,
        "Seconds from the start of a call until the broker has acknowledged its page.",
    ),
    Metric(
        "gsc_wait_seconds_total",
        "counter",
        ("reason",),
        FETCHER,
        "Seconds in which no call started, by what the fetcher waited for.",
        _WAITS,
    ),
    Metric("gsc_queued_batches", "gauge", (), FETCHER, "Batches that were read and have not started."),
    Metric(
        "gsc_pages_total",
        "counter",
        ("outcome",),
        FETCHER,
        "Pages that the fetcher has finished, by outcome.",
        ("rows", "dead", "deferred"),
    ),
    Metric(
        "gsc_sink_lag_messages",
        "gauge",
        (),
        FETCHER,
        "Results that the sink has not committed, as seen by the fetcher.",
    ),
    Metric(
        "gsc_rows_total",
        "counter",
        ("outcome",),
        SINK,
        "Rows applied, skipped (not newer), deleted, or kept although they vanished.",
        ("applied", "skipped", "deleted", "kept"),
    ),
    Metric("gsc_pages_applied_total", "counter", (), SINK, "Pages whose rows were committed to PostgreSQL."),
    Metric("gsc_days_completed_total", "counter", (), SINK, "Days whose pages are all applied."),
    Metric("gsc_transaction_seconds", "histogram", (), SINK, "Duration of the sink's transactions."),
    Metric("gsc_pages_published_total", "counter", (), PRODUCER, "Pages published by the producer."),
    Metric(
        "gsc_publishing_allowed",
        "gauge",
        (),
        PRODUCER,
        "1 while the producer may publish, 0 while the fetchers' lag is too high.",
    ),
    Metric("gsc_publisher_leader", "gauge", (), PRODUCER, "1 in the one producer that publishes, 0 in the others."),
    Metric(
        "gsc_lag_messages",
        "gauge",
        ("group", "partition"),
        PRODUCER,
        "Messages that a consumer group has not committed.",
    ),
    Metric(
        "gsc_lag_seconds",
        "gauge",
        ("group", "partition"),
        PRODUCER,
        "Age of the oldest message that a consumer group has not committed.",
    ),
    Metric(
        "gsc_partition_state",
        "gauge",
        ("partition", "state"),
        PRODUCER,
        "1 for the current status of a partition of gsc.batches, 0 for every other status.",
    ),
    Metric(
        "gsc_drain_seconds",
        "gauge",
        ("pace",),
        PRODUCER,
        "Seconds until no page is pending: at the rate of the last minute (`current`), and at the quota.",
        ("current", "quota"),
    ),
    Metric(
        "gsc_ledger_pages",
        "gauge",
        ("state",),
        PRODUCER,
        "Pages in the ledger by state, of the runs of the last 30 days.",
    ),
    Metric(
        "gsc_ledger_days",
        "gauge",
        ("kind",),
        PRODUCER,
        "Days of series by kind: complete, pending, truncated, may_change, vanished_kept.",
    ),
    Metric(
        "gsc_oldest_pending_seconds",
        "gauge",
        ("priority",),
        PRODUCER,
        "Age of the oldest run with pending or published pages; 0 without one.",
    ),
    Metric(
        "gsc_newest_day_age_days",
        "gauge",
        ("series",),
        PRODUCER,
        "Age in days of a series' newest complete day: of the series most behind (`last`) and of the `middle` one.",
    ),
    Metric("gsc_observed_timestamp_seconds", "gauge", (), PRODUCER, "When the producer last read lag and ledger."),
)
