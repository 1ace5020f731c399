"""The metrics of the producer, as data."""

from pipeline.metric import PRODUCER, Metric

PRODUCER_METRICS = (
    Metric("gsc_pages_published_total", "counter", (), PRODUCER, "Pages published from the ledger by the producer."),
    Metric(
        "gsc_publishing_paused",
        "gauge",
        ("credential",),
        PRODUCER,
        "1 while pages of a credential wait because its share of the queue is full, else 0. Only in the leader,"
        " for credentials with pending pages that are not halted.",
    ),
    Metric(
        "gsc_event_loop_lag_seconds",
        "gauge",
        (),
        PRODUCER,
        "Longest pause of the process's event loop in the last minute.",
    ),
    Metric("gsc_producer_leader", "gauge", (), PRODUCER, "1 in the leader, which publishes pages, 0 in the others."),
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
        "Pending pages of a credential. Only in the leader.",
    ),
    Metric(
        "gsc_published_pages",
        "gauge",
        ("credential",),
        PRODUCER,
        "Published pages of a credential that have no result yet. Only in the leader.",
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
        "Age of a credential's oldest run that has pending or published pages. Only in the leader.",
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
        "`throttled`, `outage`, `backpressured`, `stalled` or `stopped`. Only in the leader.",
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
