"""The dashboards' panels.

Every replica of the producer exports the same lags, partition states and ledger figures; the panels show those of the
leader.
"""

from lab.monitoring.board import JOB, TOP, Board, Panel, Query, leading, quantiles, rate, top
from lab.monitoring.progress_panels import PROGRESS
from lab.monitoring.quota_panels import QUOTA

_LAG = Board(
    "lag",
    "gsc-stream: lag",
    "Consumer lag of each service, its cause, and the time until the work is done.",
    (
        Panel(
            "Consumer lag",
            "short",
            (Query(f"sum by (group) (max by (group, partition) ({leading('gsc_lag_messages')}))", "{{group}}"),),
            "Messages that each consumer group has not committed. Each credential has a share of 1,000 batches; "
            "further pages stay pending in the ledger: see the dashboard *progress*.",
        ),
        Panel(
            "Age of the oldest uncommitted message",
            "s",
            (Query(f"max by (group, partition) ({leading('gsc_lag_seconds')})", "{{group}} {{partition}}"),),
            "By partition. An age that grows as fast as time passes means that the partition makes no progress.",
        ),
        Panel(
            "Partition status",
            "short",
            (Query(f"max by (partition, state) ({leading('gsc_partition_state')}) == 1", "{{partition}} {{state}}"),),
            "OK; THROTTLED: the next call waits for a token; HALTED; BACKPRESSURED: the sink's lag is too high; "
            "STALLED: work makes no progress; STOPPED: no owner.",
            "states",
        ),
        Panel(
            "Time to drain",
            "s",
            (Query(f"max by (pace) ({leading('gsc_drain_seconds')})", "at the {{pace}} rate"),),
            "Estimated time until no page is pending or published, at the rate of the last minute and at the quota.",
        ),
        Panel(
            "Consumer lag by partition",
            "short",
            (Query(f"max by (group, partition) ({leading('gsc_lag_messages')})", "{{group}} {{partition}}"),),
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
                Query("sum(gsc_producer_leader)", "leaders"),
                Query("sum(rate(gsc_pages_published_total[$__rate_interval]))", "pages per second"),
            ),
            "A credential is paused while its share of the queue is full. One producer is the leader.",
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
            (Query(f"max by (series) ({leading('gsc_newest_day_age_days')})", "{{series}}"),),
            "Of the series with the oldest data, and of the median series. Google publishes data after two to three "
            "days.",
        ),
        Panel(
            f"Age of the oldest unfinished run (top {TOP})",
            "s",
            (Query(top("max by (credential, priority) (gsc_oldest_pending_seconds)"), "{{credential}}, {{priority}}"),),
            "Time since the request was accepted, by credential and priority.",
        ),
        Panel(
            "Oldest request that is not planned",
            "s",
            (Query("max by (priority) (gsc_oldest_unplanned_seconds)", "{{priority}}"),),
            "Time since the request was accepted. Planning a million pages takes minutes; daily requests go first.",
        ),
        Panel(
            "Days by state",
            "short",
            (Query(f"max by (kind) ({leading('gsc_ledger_days')})", "{{kind}}"),),
            "Days in the ledger, over all series.",
        ),
        Panel(
            "Pages by state",
            "short",
            (Query(f"max by (state) ({leading('gsc_ledger_pages')})", "{{state}}"),),
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
            (
                Query("sum(rate(gsc_pages_applied_total[$__rate_interval]))", "pages"),
                Query(rate("gsc_unchanged_pages_total", "outcome"), "unchanged, {{outcome}}"),
                Query("sum(rate(gsc_slow_results_total[$__rate_interval]))", "slow results"),
            ),
            "Pages per second, and of these the unchanged ones, whose rows were not sent. Refetched: the table had "
            "other rows than those that the page was compared with. Slow: PostgreSQL wrote others in time, but "
            "not these.",
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
        *(
            Panel(
                f"{service.capitalize()}s",
                "short",
                (Query(f'count(gsc_service_info{{service="{service}"}}) or vector(0)'),),
                "Processes that answer scrapes.",
                "stat",
                ((0, "red"), (1, "green")),
            )
            for service in ("producer", "fetcher", "sink")
        ),
        Panel(
            "Leaders",
            "short",
            (Query("sum(gsc_producer_leader)"),),
            "One producer is the leader and publishes; the others are on standby.",
            "stat",
            ((0, "red"), (1, "green"), (2, "red")),
        ),
        Panel(
            "Dead letters in the last day",
            "short",
            (Query("sum(increase(gsc_dead_letters_total[1d]))"),),
            "`gsc-stream dead-letters list` shows the messages.",
            "stat",
            ((1, "red"),),
        ),
        Panel(
            "Age of the figures",
            "s",
            (Query("time() - max(gsc_observed_timestamp_seconds)"),),
            "Time since a producer last read lag and ledger.",
            "stat",
            ((60, "orange"), (300, "red")),
        ),
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

BOARDS = (PROGRESS, _LAG, QUOTA, _FRESHNESS, _SINK, _HEALTH)
