"""Logging: one shape of log lines for every service."""

import logging
import socket
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from pipeline.contracts.messages import Batch
from pipeline.contracts.records import Record
from pipeline.settings import Settings

# Without local variables, which may contain tokens.
_tracebacks = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
_SECRET = ("password", "secret", "token", "authorization", "assertion")


def _without_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in event:
        if any(word in name.lower() for word in _SECRET):
            event[name] = "***"
    return event


def configure_logging(settings: Settings, service: str) -> None:
    """Log to stderr, lines of libraries included, as JSON or for a console."""
    to_console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())

    process = {"service": service, "instance": socket.gethostname()}

    # Not with context variables, which callbacks in librdkafka's threads do not have.
    def with_process(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {**event, **process}

    shared: list[structlog.typing.Processor] = [
        with_process,
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
    # These log a line for every request or fetch at INFO.
    for chatty in ("httpx", "httpcore", "aiokafka", "aiohttp.access", "faust", "mode"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))


def batch_fields(batch: Batch) -> dict[str, object]:
    """Return the fields of a log line about a page."""
    return {**day_fields(batch), "batch_id": batch.batch_id, "start_row": batch.start_row}


def day_fields(batch: Batch) -> dict[str, object]:
    """Return the fields of a log line about a day of a series."""
    return {
        "run_id": batch.run_id,
        "credential": batch.credential,
        "property": batch.property,
        "report": batch.report,
        "search_type": batch.search_type,
        "date": batch.date.isoformat(),
    }


def record_fields(record: Record) -> dict[str, object]:
    """Return the fields of a log line about a message."""
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger. Its lines are an event name in snake_case and fields."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return bound
