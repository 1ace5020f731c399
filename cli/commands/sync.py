"""`gsc-stream sync`: ask for days, and wait for them if asked to."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import click

from cli.output import SyncSettings, catalog_of, fail, fail_for, json_option, print_json, progress_bar, run, settings
from pipeline.clock import now, pacific_date
from pipeline.contracts import codec
from pipeline.contracts.identity import run_id
from pipeline.contracts.messages import SyncRequest
from pipeline.contracts.topics import DEAD_LETTERS, SYNC_REQUESTS
from pipeline.dead_letters import read_dead_letter
from pipeline.errors import Invalid
from pipeline.ledger import runs
from pipeline.ledger.pages import finished_count
from pipeline.postgres import connection
from pipeline.process import EXIT_FAILED
from pipeline.publisher import open_publisher
from pipeline.startup_checks import require_schema, require_topics
from pipeline.topic_reader import OffsetRange, OffsetRanges, TopicReader, open_topic_reader
from producer.planner import plan
from producer.sync_request import build_request, same_request, validate

LOOK_EVERY_S = 0.5
Place = tuple[str, int, int]
"""Topic, partition and offset of a message."""


@click.command()
@click.option("--property", "properties", multiple=True, help="A property of the catalog; may be given again.")
@click.option("--all", "all_properties", is_flag=True, help="Every property of the catalog.")
@click.option("--start", help="First day, YYYY-MM-DD, in California.")
@click.option("--end", help="Last day, inclusive.")
@click.option("--days", type=int, help="Instead: the last days, as far as there is data; once a day is enough.")
@click.option("--report", "reports", multiple=True, help="A report of the catalog; default: those of each property.")
@click.option("--request-id", help="Asking again under the same id changes nothing.  [default: a new one]")
@click.option("--daily", is_flag=True, help="Before all backfills.")
@click.option("--wait", is_flag=True, help="Until every page is in its last state; exit 1 when some are dead.")
@json_option
def sync(wait: bool, as_json: bool, **options: Any) -> None:
    """Fetch days of properties."""
    wanted = settings(SyncSettings)
    catalog = catalog_of(wanted)
    request = _request(options)
    if problems := validate(request, catalog, pacific_date(now())):
        fail("\n".join(map(str, problems)))
    if not any(True for _ in plan(request, catalog, 0, pacific_date(request.requested_at))):
        click.echo(f"nothing to fetch: from {request.start} to {request.end} no report has data that is kept", err=True)
    told: dict[str, Any] = {"request_id": request.request_id, "run_id": run_id(request.request_id)}
    if wait:
        try:
            told |= run(_send_and_wait(wanted, request, show=not as_json))
        except _Refused as error:
            fail(f"the planner refuses the request: {error}", EXIT_FAILED)
    else:
        run(_send(wanted, request))
    if as_json:
        print_json(told)
    else:
        click.echo(" ".join(f"{name}={value}" for name, value in told.items()))
    raise SystemExit(1 if told.get("pages", {}).get("dead") else 0)


def _request(options: dict[str, Any]) -> SyncRequest:
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


async def _send(wanted: SyncSettings, request: SyncRequest) -> None:
    await require_topics(wanted)
    await _publish(wanted, request)


async def _publish(wanted: SyncSettings, request: SyncRequest) -> Place:
    """Write the request; returns where it is."""
    topic = SYNC_REQUESTS.full_name(wanted.topic_prefix)
    async with open_publisher(wanted.kafka, "gsc-stream") as publisher:
        position = await publisher.publish(topic, request.request_id, codec.encode(request))
    return topic, position.partition, position.offset


async def _send_and_wait(wanted: SyncSettings, request: SyncRequest, *, show: bool) -> dict[str, object]:
    await require_topics(wanted)
    await require_schema(wanted, "gsc-stream")
    prefix, run_ = wanted.topic_prefix, run_id(request.request_id)
    async with (
        connection(wanted.postgres_dsn.get_secret_value(), application="gsc-stream") as conn,
        open_topic_reader(wanted.kafka, prefix, DEAD_LETTERS.full_name(prefix)) as reader,
    ):
        before = await runs.request_of(conn, run_)
        if before is not None and not same_request(before, request):
            raise Invalid(f"{request.request_id!r} was given to another request before", field="--request-id")
        letters = _NewLetters(reader, await reader.available())
        place = await _publish(wanted, request)
        with progress_bar("waiting for the planner", show=show) as bar:
            while not (found := await runs.progress(conn, run_)):
                if refusal := await letters.about(place):
                    raise _Refused(refusal)
                await asyncio.sleep(LOOK_EVERY_S)
            while not _over(found, bar):
                await asyncio.sleep(LOOK_EVERY_S)
                found = await runs.progress(conn, run_) or found
    return found


def _over(found: Mapping[str, Any], bar: Callable[[str, int, int], None]) -> bool:
    pages: Mapping[str, int] = found["pages"]
    done, total = finished_count(pages), sum(pages.values())
    bar(f"{found['rows']} rows, pages", done, total)
    return done == total


class _Refused(Exception):
    """The planner cannot plan it."""


class _NewLetters:
    """Dead letters that are written from now on: the planner puts a request there that it cannot plan."""

    def __init__(self, reader: TopicReader, seen: OffsetRanges) -> None:
        self._reader = reader
        self._seen = seen

    async def about(self, place: Place) -> str | None:
        """Why the message that was written there is dead, if it is."""
        now_ = await self._reader.available()
        news = {number: OffsetRange(self._seen[number].end, span.end) for number, span in now_.items()}
        self._seen = now_
        async for records in self._reader.records(news):
            for letter in map(read_dead_letter, records):
                if letter.source == place:
                    return letter.error
        return None
