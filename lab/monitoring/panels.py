"""Every panel of every dashboard, as data.

Gauges of the whole (lags, states, ledger) are told by every replica of the producer alike: their maximum is taken.
"""

from dataclasses import dataclass
from typing import Literal

JOB = 'job=~".*gsc-stream.*"'
"""Our scrapes: the name of the job in compose, a part of it in Kubernetes."""

Kind = Literal["lines", "stacked", "states"]


@dataclass(frozen=True)
class Query:
    """A query, and how its series are called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """A picture; `unit` as Grafana names units."""

    title: str
    unit: str
    queries: tuple[Query, ...]
    about: str
    kind: Kind = "lines"


@dataclass(frozen=True)
class Board:
    """A dashboard."""

    name: str
    title: str
    about: str
    panels: tuple[Panel, ...]


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}[$__rate_interval]))"


def _quantiles(histogram: str) -> tuple[Query, ...]:
    rate = f"sum by (le) (rate({histogram}_bucket[$__rate_interval]))"
    return tuple(Query(f"histogram_quantile({share}, {rate})", name) for share, name in ((0.5, "p50"), (0.99, "p99")))


_LAG = Board(
    "lag",
    "gsc-stream: lag",
    "How far each service is behind, why, and when it will be done.",
    (
        Panel(
            "Behind",
            "short",
            (Query("sum by (group) (max by (group, partition) (gsc_lag_messages))", "{{group}}"),),
            "Messages that a group has not committed. The planner pauses at 1,000: the rest waits in the ledger.",
        ),
        Panel(
            "Age of the oldest message",
            "s",
            (Query("max by (group, partition) (gsc_lag_seconds)", "{{group}} {{partition}}"),),
            "What is not yet committed, by partition: a partition whose age grows with the clock does not move.",
        ),
        Panel(
            "How the partitions stand",
            "short",
            (Query("max by (partition, state) (gsc_partition_state) == 1", "{{partition}} {{state}}"),),
            "OK, THROTTLED (waits for tokens), HALTED, BACKPRESSURED (the sink is behind), STALLED, STOPPED.",
            "states",
        ),
        Panel(
            "Time to drain",
            "s",
            (Query("max by (pace) (gsc_drain_seconds)", "at the {{pace}} pace"),),
            "Until everything owed is there: at the pace of the last minute, and at the quota.",
        ),
        Panel(
            "By partition",
            "short",
            (Query("max by (group, partition) (gsc_lag_messages)", "{{group}} {{partition}}"),),
            "Messages not committed, by partition.",
        ),
        Panel(
            "Messages read",
            "ops",
            (Query(_rate("gsc_messages_consumed_total", "topic"), "{{topic}}"),),
            "Messages a second, by topic.",
        ),
        Panel(
            "Messages written",
            "ops",
            (Query(_rate("gsc_messages_published_total", "topic"), "{{topic}}"),),
            "Messages a second that the broker has acknowledged, by topic.",
        ),
        Panel(
            "Publishing",
            "short",
            (
                Query("max(gsc_publishing_allowed)", "allowed"),
                Query("sum(gsc_publisher_leader)", "publishers"),
                Query("sum(rate(gsc_pages_published_total[$__rate_interval]))", "pages a second"),
            ),
            "0 while the fetchers' lag is above the high mark. There is one publisher.",
        ),
    ),
)

_QUOTA = Board(
    "quota",
    "gsc-stream: quota",
    "Calls against Google's limits, and where the time goes.",
    (
        Panel(
            "Calls a minute against the limit",
            "short",
            (
                Query("sum by (credential) (gsc_calls_last_minute)", "{{credential}}"),
                Query("sum by (credential) (gsc_calls_allowed_per_minute)", "{{credential}}, let through"),
            ),
            "The limit falls after quota answers, and climbs back.",
        ),
        Panel(
            "Calls by outcome",
            "cpm",
            (Query(f"60 * {_rate('gsc_calls_total', 'outcome')}", "{{outcome}}"),),
            "Calls a minute.",
        ),
        Panel(
            "Where the time goes",
            "percentunit",
            (Query(f"{_rate('gsc_wait_seconds_total', 'reason')} / scalar(count(gsc_calls_in_flight))", "{{reason}}"),),
            "What kept the fetchers from starting a call. tokens: the quota is the limit, as it should be. "
            "concurrency: all calls allowed at once are under way. http: nothing is queued, calls are under way. "
            "publishing: their pages are on the way to the broker.",
            "stacked",
        ),
        Panel(
            "Tokens",
            "short",
            (Query("sum by (credential) (gsc_tokens)", "{{credential}}"),),
            "Calls that could start at once.",
        ),
        Panel(
            "The busiest property",
            "short",
            (Query("max(gsc_property_calls_last_minute_max)", "calls a minute"),),
            "Of thousands of properties, only the busiest is shown.",
        ),
        Panel(
            "The property nearest to its limit",
            "percentunit",
            (Query("max(gsc_property_utilisation_max)", "utilisation"),),
            "Calls of the last minute over what its bucket lets through.",
        ),
        Panel(
            "Quota answers and warnings, an hour",
            "short",
            (
                Query("sum by (kind) (increase(gsc_quota_refusals_total[1h]))", "refused: {{kind}}"),
                Query("sum by (kind) (increase(gsc_quota_warnings_total[1h]))", "nearly spent: {{kind}}"),
            ),
            "Answers of Google that a quota is spent, and minutes that came near to one.",
        ),
        Panel("Latency of a call", "s", _quantiles("gsc_call_seconds"), "From its start to its whole answer."),
        Panel(
            "Latency of a page",
            "s",
            _quantiles("gsc_page_seconds"),
            "From a call's start until its rows are with the broker.",
        ),
        Panel(
            "At once",
            "short",
            (
                Query("sum(gsc_calls_in_flight)", "calls in flight"),
                Query("sum(gsc_batches_uncommitted)", "repeated after a kill"),
                Query("sum(gsc_queued_batches)", "queued"),
            ),
            "Calls under way, and batches in the fetchers' memory.",
        ),
    ),
)

_FRESHNESS = Board(
    "freshness",
    "gsc-stream: freshness",
    "What is there, and what is owed.",
    (
        Panel(
            "Age of the newest complete day",
            "d",
            (Query("max by (series) (gsc_newest_day_age_days)", "{{series}}"),),
            "Of the series that is most behind, and of the middle one. Google's data is two to three days old.",
        ),
        Panel(
            "Age of the oldest run that is owed",
            "s",
            (Query("max by (priority) (gsc_oldest_pending_seconds)", "{{priority}}"),),
            "Since it was planned.",
        ),
        Panel(
            "Days", "short", (Query("max by (kind) (gsc_ledger_days)", "{{kind}}"),), "Days of series, by how they are."
        ),
        Panel(
            "Pages",
            "short",
            (Query("max by (state) (gsc_ledger_pages)", "{{state}}"),),
            "Pages of the last 30 days' runs.",
        ),
        Panel(
            "Days completed, an hour",
            "short",
            (Query("sum(increase(gsc_days_completed_total[1h]))", "days"),),
            "Days of which every page came to be applied.",
        ),
        Panel(
            "Halts", "short", (Query("max(gsc_halts_active)", "halted scopes"),), "Scopes in which no call may start."
        ),
        Panel(
            "Age of the oldest halt",
            "s",
            (Query("max(gsc_oldest_halt_seconds)", "without an end"),),
            "Of halts that somebody must end.",
        ),
    ),
)

_SINK = Board(
    "sink",
    "gsc-stream: sink",
    "Rows on their way into PostgreSQL.",
    (
        Panel(
            "Rows",
            "rowsps",
            (Query(_rate("gsc_rows_total", "outcome"), "{{outcome}}"),),
            "applied; skipped: not newer than what is there; deleted: gone from Google; kept: too many had gone.",
        ),
        Panel(
            "Pages applied",
            "ops",
            (Query("sum(rate(gsc_pages_applied_total[$__rate_interval]))", "pages"),),
            "A second.",
        ),
        Panel("Transactions", "s", _quantiles("gsc_transaction_seconds"), "Seconds of a transaction."),
        Panel(
            "Results the sink is behind, as the fetchers see it",
            "short",
            (Query("max(gsc_sink_lag_messages)", "messages"),),
            "They warn at 500, stop at 800, and go on below 500.",
        ),
        Panel(
            "Transactions a second",
            "ops",
            (Query("sum(rate(gsc_transaction_seconds_count[$__rate_interval]))", "transactions"),),
            "Each takes what has come, up to 16 MB.",
        ),
    ),
)

_HEALTH = Board(
    "health",
    "gsc-stream: health",
    "The processes, and what went wrong.",
    (
        Panel("Up", "short", (Query(f"up{{{JOB}}}", "{{instance}}"),), "1 for each process that answers."),
        Panel(
            "Memory",
            "bytes",
            (Query(f"process_resident_memory_bytes{{{JOB}}}", "{{instance}}"),),
            "Of a process; 200 MB is the promise.",
        ),
        Panel(
            "Processor",
            "percentunit",
            (Query(f"rate(process_cpu_seconds_total{{{JOB}}}[$__rate_interval])", "{{instance}}"),),
            "Of one core.",
        ),
        Panel(
            "Dead letters, an hour",
            "short",
            (Query("sum by (reason) (increase(gsc_dead_letters_total[1h]))", "{{reason}}"),),
            "gsc-stream dead-letters list tells more.",
        ),
        Panel(
            "Pages, by what the fetchers did with them",
            "ops",
            (Query(_rate("gsc_pages_total", "outcome"), "{{outcome}}"),),
            "Set aside: of a halted scope, and published again when it is over.",
        ),
        Panel("Commits", "ops", (Query(_rate("gsc_commits_total", "outcome"), "{{outcome}}"),), "Of offsets."),
        Panel(
            "Rebalances, an hour",
            "short",
            (Query("sum by (kind) (increase(gsc_rebalances_total[1h]))", "{{kind}}"),),
            "Partitions that changed hands. Lost: the group went on without asking the owner.",
        ),
        Panel("Partitions held", "short", (Query("gsc_partitions_held", "{{instance}}"),), "By each process."),
        Panel(
            "Seconds since news",
            "s",
            (
                Query("time() - gsc_control_confirmed_timestamp_seconds", "halts, {{instance}}"),
                Query("time() - max(gsc_observed_timestamp_seconds)", "lags and ledger"),
            ),
            "No call starts when the halts are not known to be up to date.",
        ),
    ),
)

BOARDS = (_LAG, _QUOTA, _FRESHNESS, _SINK, _HEALTH)
