"""The metrics of all services, as data. `docs/metrics.md` has the same table.

Labels have few values: partitions, groups, credentials, outcomes. A property is never a label, since there may be
thousands.
"""

from dataclasses import dataclass
from typing import Literal

Service = Literal["producer", "fetcher", "sink"]

PRODUCER: tuple[Service, ...] = ("producer",)
FETCHER: tuple[Service, ...] = ("fetcher",)
SINK: tuple[Service, ...] = ("sink",)
GROUP_MEMBERS = FETCHER + SINK
CONTROL_READERS = PRODUCER + FETCHER
ALL = PRODUCER + FETCHER + SINK

_QUOTA_SCOPES = ("property", "credential", "project")
_DEAD_LETTER_REASONS = (
    "undecodable", "invalid_request", "unknown_run", "unstorable", "too_slow", "unknown_credential", "credential",
    "permission", "bad_request", "unexpected_rows", "too_large", "attempts_exhausted",
)  # fmt: skip
_WAIT_REASONS = ("tokens", "outage", "concurrency", "http", "publishing", "backpressure", "control", "lease", "idle")


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


METRICS = (
    Metric("gsc_service_info", "gauge", ("service", "version"), ALL, "1: the service runs, in this version."),
    Metric("gsc_messages_consumed_total", "counter", ("topic",), ALL, "Messages read from a topic."),
    Metric("gsc_messages_published_total", "counter", ("topic",), ALL, "Messages acknowledged by the broker."),
    Metric(
        "gsc_rebalances_total",
        "counter",
        ("kind",),
        GROUP_MEMBERS,
        "Partitions assigned to, revoked from and lost by this process.",
        ("assigned", "revoked", "lost"),
    ),
    Metric("gsc_partitions_held", "gauge", (), GROUP_MEMBERS, "Partitions assigned to this process now."),
    Metric(
        "gsc_commits_total",
        "counter",
        ("outcome",),
        GROUP_MEMBERS,
        "Offset commits by outcome: `ok` or `failed`.",
        ("ok", "failed"),
    ),
    Metric(
        "gsc_dead_letters_total",
        "counter",
        ("reason",),
        ALL,
        "Messages published to the dead-letter topic, by reason.",
        _DEAD_LETTER_REASONS,
    ),
    Metric(
        "gsc_control_confirmed_timestamp_seconds",
        "gauge",
        (),
        CONTROL_READERS,
        "Unix time at which the control topic was last read to its end.",
    ),
    Metric(
        "gsc_catalog_reload_failed",
        "gauge",
        (),
        CONTROL_READERS,
        "1 while the catalog's file has a version that this process refuses: an older one is in force. Else 0.",
    ),
    Metric(
        "gsc_unknown_batches",
        "gauge",
        (),
        FETCHER,
        "Batches of properties that this process' catalog does not have yet; they wait for a new version of it.",
    ),
    Metric("gsc_halts_active", "gauge", (), CONTROL_READERS, "Scopes that are halted now."),
    Metric(
        "gsc_oldest_halt_seconds",
        "gauge",
        (),
        CONTROL_READERS,
        "Age of the oldest active halt that has no end time; 0 if there is none.",
    ),
    Metric("gsc_calls_total", "counter", ("credential", "outcome"), FETCHER, "Calls to Search Console by outcome."),
    Metric(
        "gsc_failed_calls_total",
        "counter",
        ("credential", "reason"),
        FETCHER,
        "Failed calls whose page is tried again: timeouts, broken connections, 5xx, the answers of a proxy.",
    ),
    Metric(
        "gsc_quota_refusals_total",
        "counter",
        ("kind",),
        FETCHER,
        "Calls that Google refused because of a quota, by the kind of scope.",
        _QUOTA_SCOPES,
    ),
    Metric(
        "gsc_quota_warnings_total",
        "counter",
        ("kind",),
        FETCHER,
        "Times that the calls of one minute reached 80 % of Google's quota, by the kind of scope.",
        _QUOTA_SCOPES,
    ),
    Metric(
        "gsc_call_seconds", "histogram", (), FETCHER, "Time from the start of a call until its response is complete."
    ),
    Metric("gsc_calls_in_flight", "gauge", (), FETCHER, "Calls in progress."),
    Metric(
        "gsc_circuit_open",
        "gauge",
        ("credential",),
        FETCHER,
        "1 while every call of a credential fails, so that only one call tries now and then; 0 afterwards.",
    ),
    Metric(
        "gsc_batches_uncommitted",
        "gauge",
        (),
        FETCHER,
        "Batches that were requested from Google and are not committed. After a kill, the next owner repeats them.",
    ),
    Metric(
        "gsc_calls_last_minute",
        "gauge",
        ("credential",),
        FETCHER,
        "Calls that this process made with a credential in the last minute.",
    ),
    Metric(
        "gsc_calls_allowed_per_minute",
        "gauge",
        ("credential",),
        FETCHER,
        "Current rate of the credential's token bucket, in calls per minute.",
    ),
    Metric(
        "gsc_tokens", "gauge", ("credential",), FETCHER, "Tokens in the credential's bucket. Each call takes one token."
    ),
    Metric(
        "gsc_project_calls_last_minute",
        "gauge",
        ("project",),
        FETCHER,
        "Calls in the last minute by Google Cloud project.",
    ),
    Metric(
        "gsc_project_calls_allowed_per_minute",
        "gauge",
        ("project",),
        FETCHER,
        "Rate of this fetcher's share of a project's quota, in calls a minute.",
    ),
    Metric(
        "gsc_property_calls_last_minute_max",
        "gauge",
        (),
        FETCHER,
        "Most calls that a property had made in a minute, at the starts of the calls of the last minute.",
    ),
    Metric(
        "gsc_property_utilisation_max",
        "gauge",
        (),
        FETCHER,
        "Highest ratio of such calls of a property to the rate of its bucket.",
    ),
    Metric(
        "gsc_page_seconds",
        "histogram",
        (),
        FETCHER,
        "Time from the start of a call until the broker has acknowledged the rows of its page.",
    ),
    Metric(
        "gsc_wait_seconds_total",
        "counter",
        ("reason",),
        FETCHER,
        "Time in which the fetcher started no call, by what it waited for.",
        _WAIT_REASONS,
    ),
    Metric("gsc_queued_batches", "gauge", (), FETCHER, "Batches that were read and not requested from Google yet."),
    Metric(
        "gsc_pages_total",
        "counter",
        ("outcome",),
        FETCHER,
        "Pages finished by the fetcher, by outcome: `done`, `unchanged` (their rows were not sent), `dead` or"
        " `deferred`.",
        ("done", "unchanged", "dead", "deferred"),
    ),
    Metric(
        "gsc_sink_lag_messages",
        "gauge",
        (),
        FETCHER,
        "Results that the sink has not committed, as last read by the fetcher.",
    ),
    Metric(
        "gsc_rows_total",
        "counter",
        ("outcome",),
        SINK,
        "Rows by outcome: `applied`; `skipped`, since the table has newer ones; `deleted`, since Google no longer"
        " returns them; `kept`, since too many vanished to delete.",
        ("applied", "skipped", "deleted", "kept"),
    ),
    Metric(
        "gsc_pages_applied_total", "counter", (), SINK, "Pages that were applied to PostgreSQL, unchanged ones too."
    ),
    Metric(
        "gsc_unchanged_pages_total",
        "counter",
        ("outcome",),
        SINK,
        "Pages whose rows were not sent, by outcome: `applied`, or `refetched` with their rows, since the table has"
        " others.",
        ("applied", "refetched"),
    ),
    Metric("gsc_days_completed_total", "counter", (), SINK, "Days whose pages are all applied."),
    Metric("gsc_transaction_seconds", "histogram", (), SINK, "Duration of the sink's transactions."),
    Metric("gsc_pages_published_total", "counter", (), PRODUCER, "Pages published from the ledger by the producer."),
    Metric(
        "gsc_publishing_paused",
        "gauge",
        ("credential",),
        PRODUCER,
        "1 while pages of a credential wait because its share of the queue is full, else 0. Only in the replica that"
        " publishes, for credentials with pending pages that are not halted.",
    ),
    Metric(
        "gsc_event_loop_lag_seconds",
        "gauge",
        (),
        PRODUCER,
        "Longest pause of the process's event loop in the last minute.",
    ),
    Metric("gsc_producer_leader", "gauge", (), PRODUCER, "1 in the replica that publishes, 0 in the others."),
    Metric(
        "gsc_oldest_unplanned_seconds",
        "gauge",
        ("priority",),
        PRODUCER,
        "Age of the oldest accepted request that is not planned, 0 without one. Only in the leader.",
    ),
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
        "1 for the current state of a partition of the batches topic, 0 for its other states.",
    ),
    Metric(
        "gsc_drain_seconds",
        "gauge",
        ("pace",),
        PRODUCER,
        "Time until no page is pending or published, without halted ones: at the pace of the last minute"
        " (`current`) and at the quota. Only in the leader.",
        ("current", "quota"),
    ),
    Metric(
        "gsc_ledger_pages",
        "gauge",
        ("state",),
        PRODUCER,
        "Pages in the ledger by state, for runs of the last 30 days.",
    ),
    Metric(
        "gsc_ledger_days",
        "gauge",
        ("kind",),
        PRODUCER,
        "Days in the ledger: `complete`, `pending`, `truncated`, `may_change` and `vanished_kept`.",
    ),
    Metric(
        "gsc_pending_pages",
        "gauge",
        ("credential",),
        PRODUCER,
        "Pending pages of a credential. Only in the replica that publishes.",
    ),
    Metric(
        "gsc_published_pages",
        "gauge",
        ("credential",),
        PRODUCER,
        "Published pages of a credential that have no result yet. Only in the replica that publishes.",
    ),
    Metric(
        "gsc_unfinished_pages",
        "gauge",
        ("credential",),
        PRODUCER,
        "Pending and published pages of a credential: the work for fetchers, by which they are scaled. Only in the"
        " leader.",
    ),
    Metric(
        "gsc_oldest_pending_seconds",
        "gauge",
        ("credential", "priority"),
        PRODUCER,
        "Age of a credential's oldest run that has pending or published pages. Only in the replica that publishes.",
    ),
    Metric(
        "gsc_credential_halted",
        "gauge",
        ("credential", "cause"),
        PRODUCER,
        "1 for each credential in which no call may start: it, its project, or everything is halted, for this cause.",
    ),
    Metric(
        "gsc_credential_waiting",
        "gauge",
        ("credential", "kind"),
        PRODUCER,
        "1 for what the unfinished pages of a credential wait for: `halted`, `no_leader`, `share_full`, "
        "`throttled`, `backpressured`, `stalled` or `stopped`. Only in the leader.",
    ),
    Metric(
        "gsc_credential_wait_end_timestamp_seconds",
        "gauge",
        ("credential",),
        PRODUCER,
        "Unix time at which that wait ends, if it is known. Only in the leader.",
    ),
    Metric(
        "gsc_newest_day_age_days",
        "gauge",
        ("series",),
        PRODUCER,
        "Days since a series' newest complete day: for the series furthest behind (`last`) and the median (`middle`).",
    ),
    Metric(
        "gsc_observed_timestamp_seconds",
        "gauge",
        (),
        PRODUCER,
        "Unix time at which the producer last read lags and ledger.",
    ),
)
