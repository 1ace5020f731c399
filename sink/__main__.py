"""Entry point of the sink."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import NoReturn

from pipeline.clock import monotonic
from pipeline.consumer_group import GroupMember
from pipeline.contracts.topics import RESULTS
from pipeline.database import Database
from pipeline.dead_letter_limit import DeadLetterLimit
from pipeline.dead_letters import publish_dead_letter
from pipeline.group_config import GroupConfig
from pipeline.health import HttpServer
from pipeline.kafka import group_id
from pipeline.postgres import ANSWER_LIMIT_S, Limits
from pipeline.process import load_settings, run_service, run_until_stopped, watch
from pipeline.publisher import open_publisher
from pipeline.startup_checks import require_schema, require_topics
from pipeline.watchdog import Heartbeat, Watchdog
from sink.queue import BatchSize
from sink.service import SERVICE, ResultWriter, Sink
from sink.settings import SinkSettings
from sink.write_parts import MAX_EXTRA_S
from sink.writer import Writer

WRITE_LIMIT_S = 60.0
"""Longest time in which the writer begins no batch and gets no answer of PostgreSQL, besides the limit of that."""


def main() -> NoReturn:
    """Run until SIGTERM and end the process with its exit code."""
    settings = load_settings(SinkSettings, os.environ)  # noqa: TID251 - read once, here
    run_service(settings, "sink", lambda stop: _serve(settings, stop))


async def _serve(settings: SinkSettings, stop: asyncio.Event) -> None:
    await require_topics(settings)
    await require_schema(settings, "gsc-sink")
    prefix = settings.topic_prefix

    timeout_s = settings.postgres_timeout_s
    database = Database(settings.postgres_dsn.get_secret_value(), "gsc-sink")
    answers = Heartbeat("PostgreSQL", ANSWER_LIMIT_S, monotonic())
    writing = Heartbeat("writer of results", WRITE_LIMIT_S + timeout_s + MAX_EXTRA_S, monotonic())

    def on_answer() -> None:
        answers.beat(monotonic())
        writing.beat(monotonic())

    @asynccontextmanager
    async def open_writer() -> AsyncIterator[ResultWriter]:
        async with database.connection(Limits(timeout_s), on_answer) as conn:
            yield Writer(conn, settings.delete_ratio)

    group = GroupConfig(
        group_id(prefix, "sink"),
        RESULTS.full_name(prefix),
        settings.session_timeout_s,
        revoke_s=timeout_s + MAX_EXTRA_S,
    )
    size = BatchSize(settings.sink_batch_bytes, settings.sink_linger_ms / 1000)
    limit = DeadLetterLimit(settings.dead_letter_limit, settings.dead_letter_ratio)
    async with open_publisher(settings.kafka, "gsc-sink") as publisher:
        send_dead_letter = partial(publish_dead_letter, publisher, prefix)
        member = GroupMember(settings.kafka, group)
        sink = Sink(member, size, open_writer, send_dead_letter, limit, writing)
        watchdog = Watchdog([writing, member.heartbeat], monotonic())

        def not_ready() -> str | None:
            if not sink.connected:
                return "PostgreSQL is not connected"
            return answers.stalled(monotonic()) or member.answers.stalled(monotonic())

        server = HttpServer(settings, SERVICE, not_ready=not_ready, not_live=lambda: watchdog.stalled(monotonic()))
        async with server:
            await run_until_stopped(stop, member.run(stop, sink), sink.run(stop), watch(stop, watchdog))


if __name__ == "__main__":
    main()
