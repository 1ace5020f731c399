"""Entry point of the sink."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from pipeline.clock import monotonic
from pipeline.consumer_group import GroupConfig, GroupMember
from pipeline.contracts.topics import RESULTS
from pipeline.dead_letter_limit import DeadLetterLimit
from pipeline.dead_letters import publish_dead_letter
from pipeline.health import HttpServer
from pipeline.kafka import group_id
from pipeline.postgres import Limits, connection
from pipeline.process import load_settings, run_service, run_until_stopped, stall_reason
from pipeline.publisher import open_publisher
from pipeline.startup_checks import require_schema, require_topics
from sink.service import SERVICE, BatchSize, ResultWriter, Sink
from sink.settings import SinkSettings
from sink.writer import Writer


def main() -> int:
    """Run until SIGTERM and return the exit code."""
    settings = load_settings(SinkSettings, os.environ)  # noqa: TID251 - read once, here
    return run_service(settings, "sink", lambda stop: _serve(settings, stop))


async def _serve(settings: SinkSettings, stop: asyncio.Event) -> None:
    await require_topics(settings)
    await require_schema(settings, "gsc-sink")
    prefix = settings.topic_prefix

    @asynccontextmanager
    async def open_writer() -> AsyncIterator[ResultWriter]:
        dsn, limits = settings.postgres_dsn.get_secret_value(), Limits(settings.postgres_timeout_s)
        async with connection(dsn, application="gsc-sink", limits=limits) as conn:
            yield Writer(conn, settings.delete_ratio)

    group = GroupConfig(group_id(prefix, "sink"), RESULTS.full_name(prefix), settings.session_timeout_s)
    size = BatchSize(settings.sink_batch_bytes, settings.sink_linger_ms / 1000)
    limit = DeadLetterLimit(settings.dead_letter_limit, settings.dead_letter_ratio)
    async with open_publisher(settings.kafka, "gsc-sink") as publisher:
        send_dead_letter = partial(publish_dead_letter, publisher, prefix)
        member = GroupMember(settings.kafka, group)
        sink = Sink(member, size, open_writer, send_dead_letter, limit)
        server = HttpServer(
            settings,
            SERVICE,
            not_ready=lambda: None if sink.connected else "PostgreSQL is not connected",
            not_live=lambda: stall_reason(member.last_poll, monotonic()),
        )
        async with server:
            await run_until_stopped(stop, member.run(stop, sink), sink.run(stop))


if __name__ == "__main__":
    raise SystemExit(main())
