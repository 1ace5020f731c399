"""`gsc-stream sync`: ask for days, and wait for them if asked to."""

import asyncio
from typing import Any

import click

from cli.output import SyncSettings, catalog_of, fail, json_option, print_json, progress_bar, run, settings
from pipeline.clock import now, pacific_date
from pipeline.contracts import codec
from pipeline.contracts.identity import run_id
from pipeline.contracts.messages import SyncRequest
from pipeline.contracts.topics import SYNC_REQUESTS
from pipeline.errors import Invalid
from pipeline.kafka import publishing
from pipeline.postgres import connection
from pipeline.running import require_topics
from producer import ledger
from producer.admission import build_request, problems_of

LOOK_EVERY_S = 0.5


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
    request = _request(options)
    if problems := problems_of(request, catalog_of(wanted), pacific_date(now())):
        fail("\n".join(map(str, problems)))
    run(_send(wanted, request))
    told: dict[str, Any] = {"request_id": request.request_id, "run_id": run_id(request.request_id)}
    if wait:
        told |= run(_wait(wanted, told["run_id"], show=not as_json))
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
        fail(f"{error}, got {fields.get(error.field or '', '')!r}")


async def _send(wanted: SyncSettings, request: SyncRequest) -> None:
    await require_topics(wanted)
    topic = SYNC_REQUESTS.full_name(wanted.topic_prefix)
    async with publishing(wanted.kafka, "gsc-stream") as publisher:
        await publisher.publish(topic, request.request_id, codec.encode(request))


async def _wait(wanted: SyncSettings, run_: str, *, show: bool) -> dict[str, object]:
    with progress_bar("waiting for the planner", show=show) as bar:
        async with connection(wanted.postgres_dsn.get_secret_value(), application="gsc-stream") as conn:
            while True:
                found = await ledger.progress(conn, run_)
                pages: dict[str, int] = found["pages"] if found else {}  # type: ignore[assignment]
                if found:
                    bar(f"{found['rows']} rows, pages", ledger.ended(pages), sum(pages.values()))
                    if ledger.ended(pages) == sum(pages.values()):
                        return found
                await asyncio.sleep(LOOK_EVERY_S)
