"""The dashboards' panels.

Every replica of the producer exports the same lags, partition states and ledger figures, so their panels show the
maximum over the replicas.
"""

from lab.monitoring.board import JOB, Board, Panel, Query, quantiles, rate

_LAG = Board(
    "lag",
    "gsc-stream: lag",
    "Consumer lag of each service, its cause, and the time until the work is done.",
    (
        Panel(
            "Consumer lag",
            "short",
            (Query("sum by (group) (max by (group, partition) (gsc_lag_messages))", "{{group}}"),),
            "Messages that each consumer group has not committed. The producer stops publishing at 1,000 batches; "
            "further pages stay pending in the ledger.",
        ),
        Panel(
            "Age of the oldest uncommitted message",
            "s",
            (Query("max by (group, partition) (gsc_lag_seconds)", "{{group}} {{partition}}"),),
            "By partition. An age that grows as fast as time passes means that the partition makes no progress.",
        ),
        Panel(
            "Partition status",
            "short",
            (Query("max by (partition, state) (gsc_partition_state) == 1", "{{partition}} {{state}}"),),
            "OK; THROTTLED: the next call waits for a token; HALTED; BACKPRESSURED: the sink's lag is too high; "
            "STALLED: work makes no progress; STOPPED: no owner.",
            "states",
        ),
        Panel(
            "Time to drain",
            "s",
            (Query("max by (pace) (gsc_drain_seconds)", "at the {{pace}} rate"),),
            "Estimated time until no page is pending or published, at the rate of the last minute and at the quota.",
        ),
        Panel(
            "Consumer lag by partition",
            "short",
            (Query("max by (group, partition) (gsc_lag_messages)", "{{group}} {{partition}}"),),
            "Messages that each consumer group has not committed.",
        ),
        Panel(
            "Messages consumed",
            "ops",
            (Query(rate("gsc_messages_consumed_total", "topic"), "{{topic}}"),),
            "Messages read per second, by topic.",
        ),
        Panel(
            "Messages published",
            "ops",
            (Query(rate("gsc_messages_published_total", "topic"), "{{topic}}"),),
            "Messages acknowledged by the broker per second, by topic.",
        ),
        Panel(
            "Longest pause of the producer's event loop",
            "s",
            (Query("max by (instance) (gsc_event_loop_lag_seconds)", "{{instance}}"),),
            "In the last minute. A pause delays publishing, heartbeats and requests.",
        ),
        Panel(
            "Publishing of pages",
            "short",
            (
                Query("sum(gsc_publishing_paused)", "paused credentials"),
                Query("sum(gsc_publisher_leader)", "publishers"),
                Query("sum(rate(gsc_pages_published_total[$__rate_interval]))", "pages per second"),
            ),
            "A credential is paused while its share of the queue is full. One producer is the publisher.",
        ),
    ),
)

_QUOTA = Board(
    "quota",
    "gsc-stream: quota",
    "Calls compared with Google's quotas, and what the fetchers wait for.",
    (
        Panel(
            "Calls in the last minute",
            "short",
            (
                Query("sum by (credential) (gsc_calls_last_minute)", "{{credential}}"),
                Query("sum by (credential) (gsc_calls_allowed_per_minute)", "{{credential}}, limit"),
            ),
            "The limit is reduced when Google refuses calls because of a quota, and recovers step by step.",
        ),
        Panel(
            "Calls by outcome",
            "cpm",
            (Query(f"60 * {rate('gsc_calls_total', 'outcome')}", "{{outcome}}"),),
            "Calls per minute.",
        ),
        Panel(
            "Where the time goes",
            "percentunit",
            (Query(f"{rate('gsc_wait_seconds_total', 'reason')} / scalar(count(gsc_calls_in_flight))", "{{reason}}"),),
            "Share of the time in which a fetcher starts no call, by reason. tokens: the quota is the limit, as it "
            "should be. concurrency: the maximum number of calls is in flight. http: nothing is queued, calls are in "
            "flight. publishing: pages wait for the broker's acknowledgement.",
            "stacked",
        ),
        Panel(
            "Tokens",
            "short",
            (Query("sum by (credential) (gsc_tokens)", "{{credential}}"),),
            "Calls that the credential's bucket allows immediately.",
        ),
        Panel(
            "Calls of the busiest property",
            "short",
            (Query("max(gsc_property_calls_last_minute_max)", "calls in the last minute"),),
            "Only the busiest property is shown, because there may be thousands.",
        ),
        Panel(
            "Utilization of the property nearest to its limit",
            "percentunit",
            (Query("max(gsc_property_utilisation_max)", "utilization"),),
            "Calls in the last minute as a share of what the property's bucket allows.",
        ),
        Panel(
            "Quota refusals and warnings per hour",
            "short",
            (
                Query("sum by (kind) (increase(gsc_quota_refusals_total[1h]))", "refused: {{kind}}"),
                Query("sum by (kind) (increase(gsc_quota_warnings_total[1h]))", "near the quota: {{kind}}"),
            ),
            "Calls that Google refused because a quota is spent, and minutes with 80 % or more of a hard quota.",
        ),
        Panel("Call latency", "s", quantiles("gsc_call_seconds"), "From the start of a call to its complete response."),
        Panel(
            "Page latency",
            "s",
            quantiles("gsc_page_seconds"),
            "From the start of a call until the broker has acknowledged its rows.",
        ),
        Panel(
            "Calls and batches in progress",
            "short",
            (
                Query("sum(gsc_calls_in_flight)", "calls in flight"),
                Query("sum(gsc_batches_uncommitted)", "batches started, not committed"),
                Query("sum(gsc_queued_batches)", "batches queued"),
            ),
            "Batches that are started and not committed are repeated if the fetcher is killed.",
        ),
    ),
)

_FRESHNESS = Board(
    "freshness",
    "gsc-stream: freshness",
    "Which days are complete, and which pages are not finished.",
    (
        Panel(
            "Age of the newest complete day",
            "d",
            (Query("max by (series) (gsc_newest_day_age_days)", "{{series}}"),),
            "Of the series with the oldest data, and of the median series. Google publishes data after two to three "
            "days.",
        ),
        Panel(
            "Unfinished pages by credential",
            "short",
            (
                Query("max by (credential) (gsc_pending_pages)", "{{credential}} pending"),
                Query("max by (credential) (gsc_published_pages)", "{{credential}} published"),
            ),
            "A credential whose published pages stay at its share of the queue while others move is slow or stuck.",
        ),
        Panel(
            "Age of the oldest unfinished run",
            "s",
            (Query("max by (priority) (gsc_oldest_pending_seconds)", "{{priority}}"),),
            "Time since the run was planned, by priority.",
        ),
        Panel(
            "Days by state",
            "short",
            (Query("max by (kind) (gsc_ledger_days)", "{{kind}}"),),
            "Days in the ledger, over all series.",
        ),
        Panel(
            "Pages by state",
            "short",
            (Query("max by (state) (gsc_ledger_pages)", "{{state}}"),),
            "Pages of the runs of the last 30 days.",
        ),
        Panel(
            "Days completed per hour",
            "short",
            (Query("sum(increase(gsc_days_completed_total[1h]))", "days"),),
            "Days whose last page was applied.",
        ),
        Panel(
            "Halts",
            "short",
            (Query("max(gsc_halts_active)", "halted scopes"),),
            "Scopes in which no call may start.",
        ),
        Panel(
            "Age of the oldest halt",
            "s",
            (Query("max(gsc_oldest_halt_seconds)", "without an end"),),
            "Of the halts without an end time, which last until an operator resumes the scope.",
        ),
    ),
)

_SINK = Board(
    "sink",
    "gsc-stream: sink",
    "Rows and transactions in PostgreSQL.",
    (
        Panel(
            "Rows by outcome",
            "rowsps",
            (Query(rate("gsc_rows_total", "outcome"), "{{outcome}}"),),
            "applied: written; skipped: not newer than the stored row; deleted: Google no longer lists the row; kept: "
            "Google no longer lists it, but too many rows of the day have vanished to delete them.",
        ),
        Panel(
            "Pages applied",
            "ops",
            (Query("sum(rate(gsc_pages_applied_total[$__rate_interval]))", "pages"),),
            "Pages per second.",
        ),
        Panel(
            "Transaction duration", "s", quantiles("gsc_transaction_seconds"), "Duration of the sink's transactions."
        ),
        Panel(
            "Lag of the sink, as the fetchers see it",
            "short",
            (Query("max(gsc_sink_lag_messages)", "messages"),),
            "Results that the sink has not committed. The fetchers warn at 500, stop starting calls at 800, and "
            "continue below 500.",
        ),
        Panel(
            "Transactions",
            "ops",
            (Query("sum(rate(gsc_transaction_seconds_count[$__rate_interval]))", "transactions"),),
            "Transactions per second. Each writes the results that have arrived, up to 16 MB.",
        ),
    ),
)

_HEALTH = Board(
    "health",
    "gsc-stream: health",
    "Processes, dead letters, commits and rebalances.",
    (
        Panel("Up", "short", (Query(f"up{{{JOB}}}", "{{instance}}"),), "1 for each process that answers scrapes."),
        Panel(
            "Memory",
            "bytes",
            (Query(f"process_resident_memory_bytes{{{JOB}}}", "{{instance}}"),),
            "Resident memory of each process; below 200 MB is normal.",
        ),
        Panel(
            "CPU",
            "percentunit",
            (Query(f"rate(process_cpu_seconds_total{{{JOB}}}[$__rate_interval])", "{{instance}}"),),
            "Share of one core.",
        ),
        Panel(
            "Dead letters per hour",
            "short",
            (Query("sum by (reason) (increase(gsc_dead_letters_total[1h]))", "{{reason}}"),),
            "By reason. `gsc-stream dead-letters list` shows the messages.",
        ),
        Panel(
            "Pages by outcome in the fetchers",
            "ops",
            (Query(rate("gsc_pages_total", "outcome"), "{{outcome}}"),),
            "rows: rows were published; dead: dead-lettered; deferred: the scope is halted, and the page is published "
            "again after the halt.",
        ),
        Panel(
            "Offset commits",
            "ops",
            (Query(rate("gsc_commits_total", "outcome"), "{{outcome}}"),),
            "Commits per second, by outcome.",
        ),
        Panel(
            "Rebalances per hour",
            "short",
            (Query("sum by (kind) (increase(gsc_rebalances_total[1h]))", "{{kind}}"),),
            "Partitions assigned, revoked and lost. lost: the group removed the owner, for example after a timeout.",
        ),
        Panel(
            "Partitions held",
            "short",
            (Query("gsc_partitions_held", "{{instance}}"),),
            "Partitions assigned to each process.",
        ),
        Panel(
            "Age of control state and figures",
            "s",
            (
                Query("time() - gsc_control_confirmed_timestamp_seconds", "halts, {{instance}}"),
                Query("time() - max(gsc_observed_timestamp_seconds)", "lags and ledger"),
            ),
            "Time since the control topic was read to its end, and since lags and ledger were read. A fetcher starts "
            "no call while it does not know the current halts.",
        ),
    ),
)

BOARDS = (_LAG, _QUOTA, _FRESHNESS, _SINK, _HEALTH)
