"""`gsc-stream sync`: request days, and wait for their rows on request."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

import click

from cli.context import SyncSettings, fail, fail_for, load_catalog, read_environment, run
from cli.options import json_option
from cli.output import print_json, progress_bar
from pipeline.clock import monotonic, now
from pipeline.contracts.identity import run_id
from pipeline.contracts.messages import SyncRequest
from pipeline.contracts.topics import DEAD_LETTERS, SYNC_REQUESTS
from pipeline.dead_letters import read_dead_letter
from pipeline.errors import Fatal, Invalid, Retryable
from pipeline.ledger import runs
from pipeline.ledger.changes import listen, wait_for_change
from pipeline.ledger.pages import finished_count
from pipeline.pacific import pacific_date
from pipeline.postgres import Connection, connection
from pipeline.process import EXIT_FAILED
from pipeline.publisher import open_publisher, publish_request
from pipeline.startup_checks import require_schema, require_topics
from pipeline.topic_reader import OffsetRange, OffsetRanges, TopicReader, open_topic_reader
from producer.planner import plan
from producer.sync_request import build_request, id_conflict, unpublished_from, validate

POLL_EVERY_S = 0.5
ID_CHECK_S = 5.0
"""How long a request without --wait waits for PostgreSQL."""
REST_RATIO = 4
"""The command rests for so many durations of a query between two: a large run takes a while to count."""
Source = tuple[str, int, int]
"""Topic, partition and offset of a message."""


@click.command()
@click.option("--property", "properties", multiple=True, help="A property of the catalog. Can be repeated.")
@click.option("--all", "all_properties", is_flag=True, help="Every property of the catalog.")
@click.option("--start", help="First day, YYYY-MM-DD, in Pacific time.")
@click.option("--end", help="Last day, inclusive.")
@click.option("--days", type=int, help="Instead of --start and --end: the last days that have data.")
@click.option("--report", "reports", multiple=True, help="A report of the catalog. Can be repeated.  [default: all]")
@click.option("--request-id", help="Id of the request; the same request again changes nothing.  [default: a new one]")
@click.option("--daily", is_flag=True, help="Fetch before all backfills.")
@click.option("--wait", is_flag=True, help="Wait until every page is finished; exit 1 if some are dead.")
@json_option
def sync(wait: bool, as_json: bool, **options: Any) -> None:
    """Fetch days of properties from Search Console into PostgreSQL.

    Example: gsc-stream sync --all --days 10 --wait
    """
    settings = read_environment(SyncSettings)
    catalog = load_catalog(settings)
    request = _build(options)
    if problems := validate(request, catalog, pacific_date(now())):
        fail("\n".join(map(str, problems)))
    if not any(True for _ in plan(request, catalog, 0, pacific_date(request.requested_at))):
        click.echo(
            f"nothing to fetch: no report has data that it keeps from {request.start} to {request.end}", err=True
        )
    result: dict[str, Any] = {"request_id": request.request_id, "run_id": run_id(request.request_id)}
    if wait:
        try:
            result |= run(_send_and_wait(settings, request, show=not as_json))
        except _RefusedError as error:
            fail(f"the producer refuses the request: {error}", EXIT_FAILED)
    else:
        run(_send(settings, request))
    if first := unpublished_from(request, catalog):
        click.echo(
            f"note: Google publishes final data two to three days later. Days from {first} on stay incomplete if they"
            " have no rows yet; `gsc-stream reconcile --repair` requests them again",
            err=True,
        )
    if as_json:
        print_json(result)
    else:
        click.echo(" ".join(f"{name}={value}" for name, value in result.items()))
    raise SystemExit(1 if result.get("pages", {}).get("dead") else 0)


def _build(options: dict[str, Any]) -> SyncRequest:
    fields = {
        "start": options["start"],
        "end": options["end"],
        "days": options["days"],
        "properties": options["properties"],
        "all": options["all_properties"],
        "reports": options["reports"],
        "request_id": options["request_id"],
        "priority": "daily" if options["daily"] else None,
    }
    try:
        return build_request(fields, now=now(), today=pacific_date(now()), requested_by="cli")
    except Invalid as error:
        fail_for(error, fields)


async def _send(settings: SyncSettings, request: SyncRequest) -> None:
    await require_topics(settings)
    with suppress(Retryable, Fatal, TimeoutError):  # otherwise the producer checks the id later
        async with asyncio.timeout(ID_CHECK_S), _ledger(settings) as conn:
            await _check_id(conn, request)
    await _publish(settings, request)


def _ledger(settings: SyncSettings) -> AbstractAsyncContextManager[Connection]:
    return connection(settings.postgres_dsn.get_secret_value(), application="gsc-stream")


async def _check_id(conn: Connection, request: SyncRequest) -> None:
    """Raise Invalid when another request has the id."""
    if conflict := id_conflict(await runs.request_of(conn, run_id(request.request_id)), request):
        raise Invalid(conflict, field="--request-id")


async def _publish(settings: SyncSettings, request: SyncRequest) -> Source:
    """Publish the request; returns its position."""
    async with open_publisher(settings.kafka, "gsc-stream") as publisher:
        position = await publish_request(publisher, settings.topic_prefix, request)
    return SYNC_REQUESTS.full_name(settings.topic_prefix), position.partition, position.offset


async def _send_and_wait(settings: SyncSettings, request: SyncRequest, *, show: bool) -> dict[str, object]:
    await require_topics(settings)
    await require_schema(settings, "gsc-stream")
    prefix, run_ = settings.topic_prefix, run_id(request.request_id)
    async with (
        _ledger(settings) as conn,
        open_topic_reader(settings.kafka, prefix, DEAD_LETTERS.full_name(prefix)) as reader,
    ):
        await _check_id(conn, request)
        dead_letters = _NewDeadLetters(reader, await reader.available())
        source = await _publish(settings, request)
        await listen(conn)
        with progress_bar("waiting for the producer", show=show) as bar:
            while not (progress := await runs.progress(conn, run_)):
                if reason := await dead_letters.reason_of(source):
                    raise _RefusedError(reason)
                await wait_for_change(conn, POLL_EVERY_S)
            while not _is_finished(progress, bar):
                progress = await _next_progress(conn, run_) or progress
    return progress


async def _next_progress(conn: Connection, run_: str) -> dict[str, object] | None:
    """Return the progress of a run after the next change of any page, or after POLL_EVERY_S."""
    await wait_for_change(conn, POLL_EVERY_S)
    began = monotonic()
    progress = await runs.progress(conn, run_)
    await asyncio.sleep(REST_RATIO * (monotonic() - began))
    return progress


def _is_finished(progress: Mapping[str, Any], bar: Callable[[str, int, int], None]) -> bool:
    pages: Mapping[str, int] = progress["pages"]
    done, total = finished_count(pages), sum(pages.values())
    bar(f"{progress['rows']} rows, pages", done, total)
    return done == total


class _RefusedError(Exception):
    """The producer cannot plan the request."""


class _NewDeadLetters:
    """Dead letters published from now on: the producer dead-letters a request that it cannot plan."""

    def __init__(self, reader: TopicReader, seen: OffsetRanges) -> None:
        self._reader = reader
        self._seen = seen

    async def reason_of(self, source: Source) -> str | None:
        """Return why the message was dead-lettered, or None when it was not."""
        available = await self._reader.available()
        new = {number: OffsetRange(self._seen[number].end, range_.end) for number, range_ in available.items()}
        self._seen = available
        async for records in self._reader.records(new):
            for dead_letter in map(read_dead_letter, records):
                if dead_letter.source == source:
                    return dead_letter.error
        return None
