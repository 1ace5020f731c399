"""`gsc-stream replay`: results that Kafka still holds, written to PostgreSQL again."""

import dataclasses
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import click

from cli.output import (
    LedgerSettings,
    a_day,
    a_moment,
    catalog_if_named,
    fail,
    json_option,
    print_json,
    print_table,
    progress_bar,
    run,
    settings,
)
from maintenance.replay import Replay, ReplayCounts, Selection, begin, begin_generation, finish
from pipeline.contracts.topics import RESULTS
from pipeline.errors import Invalid
from pipeline.ledger import runs
from pipeline.postgres import Connection, connection
from pipeline.startup_checks import require_schema, require_topics
from pipeline.topic_reader import open_topic_reader
from sink.settings import SinkSettings
from sink.writer import Writer


@click.command()
@click.option(
    "--from", "since", callback=a_moment, help="Results written since, ISO 8601 with an offset.  [default: all]"
)
@click.option("--to", "until", callback=a_moment, help="... and before.  [default: now]")
@click.option("--property", "properties", multiple=True, help="Only of this property; may be given again.")
@click.option("--start", callback=a_day, help="Only days from this one on, YYYY-MM-DD.")
@click.option("--end", callback=a_day, help="Only days up to this one.")
@click.option(
    "--generation",
    type=click.Choice(["kept", "now"]),
    default="kept",
    show_default=True,
    help="`now` overwrites what is newer, on purpose.",
)
@click.option("--dry-run", is_flag=True, help="Only count.")
@json_option
def replay(
    since: datetime | None, until: datetime | None, start: date | None, end: date | None, **options: Any
) -> None:
    """Write old results again; an older never overwrites a newer. Interrupted, the same command goes on."""
    wanted = settings(LedgerSettings)
    if start and end and end < start:
        fail(f"--end: {end} is before --start {start}")
    if since and until and until <= since:
        fail(f"--to: {until.isoformat()} is not after --from {since.isoformat()}")
    selection = Selection(since, until, tuple(options["properties"]), start, end)
    tally = run(_replay(wanted, selection, now_=options["generation"] == "now", dry=options["dry_run"]))
    told = dataclasses.asdict(tally)
    if options["as_json"]:
        print_json({**told, "dry_run": options["dry_run"]})
    else:
        by_property = told.pop("rows_by_property")
        print_table(
            "Replay" + (" (nothing was written)" if options["dry_run"] else ""), ("what", "count"), told.items()
        )
        print_table("Rows read", ("property", "rows"), sorted(by_property.items()))


async def _replay(wanted: LedgerSettings, selection: Selection, *, now_: bool, dry: bool) -> ReplayCounts:
    await require_topics(wanted)
    await require_schema(wanted, "gsc-replay")
    topic = RESULTS.full_name(wanted.topic_prefix)
    async with (
        connection(wanted.postgres_dsn.get_secret_value(), application="gsc-replay") as conn,
        open_topic_reader(wanted.kafka, wanted.topic_prefix, topic) as reader,
    ):
        await _check_properties(conn, selection.properties)
        spans = await reader.between(selection.since, selection.until)
        writer = None if dry else Writer(conn, settings(SinkSettings).delete_ratio)
        name = Replay(selection, None, None).name
        rebirth = await begin_generation(conn, name) if now_ and not dry else None
        job = Replay(selection, rebirth, writer)
        left = spans if dry else await begin(conn, job.name, spans)
        total = sum(span.records for span in left.values())
        with progress_bar("replaying") as bar:
            tally = await job.run(reader, left, conn, lambda so_far: bar(f"{so_far.rows} rows", so_far.messages, total))
        if not dry:
            await finish(conn, job.name)
    return tally


async def _check_properties(conn: Connection, wanted: Sequence[str]) -> None:
    """Raise Invalid for a property that is neither in the ledger nor, as for an empty database, in the catalog."""
    catalog = catalog_if_named()
    known = await runs.properties(conn) | set(catalog.property_by_url if catalog else ())
    for url in wanted:
        if url not in known:
            raise Invalid(f"{url!r} is neither in the ledger nor in the catalog (GSC_CATALOG)", field="--property")
