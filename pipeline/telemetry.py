"""One log shape and one metric catalogue for every service."""

import logging
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import structlog
from prometheus_client import Counter, Gauge, Histogram

from pipeline.settings import Settings

Instrument = TypeVar("Instrument", Counter, Gauge, Histogram)


@dataclass(frozen=True)
class Metric:
    """A line of the catalogue. Labels have few values: partitions, credentials, outcomes; never properties."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str


METRICS = (
    Metric("gsc_messages_consumed_total", "counter", ("topic",), "Messages read from a topic."),
    Metric("gsc_messages_published_total", "counter", ("topic",), "Messages that the broker has acknowledged."),
    Metric("gsc_rebalances_total", "counter", ("kind",), "Partitions assigned, revoked or lost, by kind."),
    Metric("gsc_partitions_held", "gauge", (), "Partitions assigned to this process."),
    Metric("gsc_commits_total", "counter", ("outcome",), "Offset commits: ok or failed."),
    Metric("gsc_dead_letters_total", "counter", ("service", "reason"), "Messages put into the dead letters."),
    Metric("gsc_control_confirmed_timestamp_seconds", "gauge", (), "When the control topic was last read to its end."),
    Metric("gsc_halts_active", "gauge", (), "Scopes that are halted now."),
    Metric("gsc_oldest_halt_seconds", "gauge", (), "Age of the oldest halt without an end; 0 when there is none."),
    Metric("gsc_calls_total", "counter", ("credential", "outcome"), "Calls to Search Console, by outcome."),
    Metric("gsc_quota_refusals_total", "counter", ("kind",), "Quota answers of Google, by the kind of scope."),
    Metric(
        "gsc_quota_warnings_total",
        "counter",
        ("kind",),
        "Times that the calls of a minute reached 80 % of a hard quota, by the kind of scope.",
    ),
    Metric("gsc_call_seconds", "histogram", (), "Seconds from a call's start to its whole answer."),
    Metric("gsc_calls_in_flight", "gauge", (), "Calls under way."),
    Metric("gsc_batches_at_stake", "gauge", (), "Batches called for, whose end is not committed: a kill repeats them."),
    Metric(
        "gsc_calls_last_minute", "gauge", ("credential",), "Calls of a credential in the last minute, by this process."
    ),
    Metric("gsc_calls_allowed_per_minute", "gauge", ("credential",), "What the credential's bucket lets through now."),
    Metric("gsc_tokens", "gauge", ("credential",), "Calls that the credential's bucket would let through at once."),
    Metric("gsc_property_calls_last_minute_max", "gauge", (), "Calls of the busiest property in the last minute."),
    Metric("gsc_page_seconds", "histogram", (), "Seconds from a call's start until its page is with the broker."),
    Metric("gsc_wait_seconds_total", "counter", ("reason",), "Seconds in which no call could start, by reason."),
    Metric("gsc_queued_batches", "gauge", (), "Batches read and not started."),
    Metric("gsc_pages_total", "counter", ("outcome",), "Pages that the fetcher is done with, by outcome."),
    Metric("gsc_sink_lag_messages", "gauge", (), "Results that the sink has not committed, as the fetcher sees it."),
    Metric("gsc_rows_total", "counter", ("outcome",), "Rows applied, skipped or deleted by the sink."),
    Metric("gsc_pages_applied_total", "counter", (), "Pages whose rows were committed to PostgreSQL."),
    Metric("gsc_days_completed_total", "counter", (), "Days of which every page is applied."),
    Metric("gsc_transaction_seconds", "histogram", (), "Seconds of the sink's transactions."),
    Metric("gsc_pages_published_total", "counter", (), "Pages that the planner has published."),
    Metric(
        "gsc_publishing_allowed", "gauge", (), "1 while the planner may publish, 0 while the fetchers' lag is high."
    ),
    Metric("gsc_publisher_leader", "gauge", (), "1 in the one planner that publishes."),
    Metric("gsc_lag_messages", "gauge", ("group", "partition"), "Messages that a group has not committed."),
    Metric(
        "gsc_lag_seconds", "gauge", ("group", "partition"), "Age of the oldest message that a group has not committed."
    ),
    Metric(
        "gsc_partition_state", "gauge", ("partition", "state"), "1 for how a partition of the batches stands, else 0."
    ),
    Metric(
        "gsc_drain_seconds", "gauge", ("pace",), "Seconds of work: at the pace of the last minute, and at the quota."
    ),
    Metric("gsc_ledger_pages", "gauge", ("state",), "Pages of the ledger by state, of the runs of the last 30 days."),
    Metric(
        "gsc_ledger_days", "gauge", ("kind",), "Days of series: complete, owed, truncated, may_change, vanished_kept."
    ),
    Metric("gsc_observed_timestamp_seconds", "gauge", (), "When lags and ledger were last read."),
)

_KINDS = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
_instruments: dict[str, Counter | Gauge | Histogram] = {
    metric.name: _KINDS[metric.kind](metric.name, metric.help, metric.labels) for metric in METRICS
}


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


# Without local variables: they may hold tokens.
_tracebacks = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
_SECRET = ("password", "secret", "token", "authorization", "assertion")


def _without_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in event:
        if any(word in name.lower() for word in _SECRET):
            event[name] = "***"
    return event


def configure_logging(settings: Settings, service: str) -> None:
    """Log to stderr, our own lines and those of libraries alike, as JSON or for a console."""
    to_console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())

    # Not by context variables: librdkafka's threads call back without them.
    def with_service(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"] = service
        return event

    shared: list[structlog.typing.Processor] = [
        with_service,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _without_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderers: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer()] if to_console else [_tracebacks, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    # Lines for every request, or every fetch, at INFO.
    for chatty in ("httpx", "httpcore", "aiokafka", "aiohttp.access", "faust", "mode"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger; its lines are an event name in snake_case with fields."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return bound
