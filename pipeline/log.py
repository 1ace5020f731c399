"""Structured logs, in the same form in every service."""

import logging
import socket
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from pipeline.contracts.messages import Batch
from pipeline.contracts.records import Record
from pipeline.settings import Settings

# Tracebacks leave out local variables, since they may hold tokens.
_json_tracebacks = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
_console_tracebacks = structlog.dev.RichTracebackFormatter(show_locals=False)
_SECRET_WORDS = ("password", "secret", "token", "authorization", "assertion")


def _mask_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in event:
        if any(word in name.lower() for word in _SECRET_WORDS):
            event[name] = "***"
    return event


def _process_fields(service: str) -> structlog.typing.Processor:
    """Return a processor that adds the fields of this process.

    structlog's context variables would be missing in callbacks from librdkafka's threads.
    """
    process = {"service": service, "instance": socket.gethostname()}
    return lambda _, __, event: {**event, **process}


def _renderers(log_format: str) -> list[structlog.typing.Processor]:
    if log_format == "console" or (log_format == "auto" and sys.stderr.isatty()):
        return [structlog.dev.ConsoleRenderer(exception_formatter=_console_tracebacks)]
    return [_json_tracebacks, structlog.processors.JSONRenderer()]


def configure_logging(settings: Settings, service: str) -> None:
    """Send all log lines to stderr, those of libraries too, as JSON or in colour for a terminal."""
    shared: list[structlog.typing.Processor] = [
        _process_fields(service),
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _mask_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(settings.log_format)],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    # These log every request or every poll at INFO.
    for library in ("httpx", "httpcore", "aiokafka", "aiohttp.access", "faust", "mode"):
        logging.getLogger(library).setLevel(max(logging.WARNING, root.level))


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
    """Return the fields of a log line about a Kafka message."""
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger. Its lines are an event name in snake_case, and fields."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return bound
