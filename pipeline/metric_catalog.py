"""The metrics of all services, as data. `docs/metrics.md` has the same table.

Labels have few values: partitions, groups, credentials, outcomes. A property is never a label, since there may be
thousands.
"""

from pipeline.fetcher_metrics import FETCHER_METRICS
from pipeline.metric import ALL, CONTROL_READERS, GROUP_MEMBERS, SINK, Metric
from pipeline.producer_metrics import PRODUCER_METRICS

_DEAD_LETTER_REASONS = (
    "undecodable", "invalid_request", "unknown_run", "unstorable", "unknown_property", "credential",
    "permission", "bad_request", "unexpected_rows", "too_large", "attempts_exhausted",
)  # fmt: skip

_SHARED_METRICS = (
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
    Metric("gsc_halts_active", "gauge", (), CONTROL_READERS, "Scopes that are halted now."),
    Metric(
        "gsc_oldest_halt_seconds",
        "gauge",
        (),
        CONTROL_READERS,
        "Age of the oldest active halt that has no end time; 0 if there is none.",
    ),
)
_SINK_METRICS = (
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
    Metric(
        "gsc_slow_results_total",
        "counter",
        (),
        SINK,
        "Results that PostgreSQL did not write in time, while it wrote others. Their pages are fetched again.",
    ),
    Metric("gsc_days_completed_total", "counter", (), SINK, "Days whose pages are all applied."),
    Metric("gsc_transaction_seconds", "histogram", (), SINK, "Duration of the sink's transactions."),
)
METRICS = (*_SHARED_METRICS, *FETCHER_METRICS, *_SINK_METRICS, *PRODUCER_METRICS)
