"""`gsc-stream replay`: write results that Kafka still holds to PostgreSQL again."""

import dataclasses
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import click

from cli.context import LedgerSettings, catalog_if_set, fail, read_environment, run
from cli.options import day, json_option, moment
from cli.output import print_json, print_table
from cli.progress_bar import progress_bar
from maintenance.replay import Replay, ReplayCounts, Selection, begin, begin_generation, finish
from pipeline.contracts.topics import RESULTS
from pipeline.errors import Invalid
from pipeline.ledger import runs
from pipeline.postgres import MAINTENANCE, Connection, connection
from pipeline.startup_checks import require_schema, require_topics
from pipeline.topic_reader import open_topic_reader
from sink.settings import SinkSettings
from sink.writer import Writer


@click.command()
@click.option("--from", "since", callback=moment, help="Results written since then, an ISO 8601 time.  [default: all]")
@click.option("--to", "until", callback=moment, help="Results written before then.  [default: now]")
@click.option("--property", "properties", multiple=True, help="Only this property. Can be repeated.")
@click.option("--start", callback=day, help="Only days from this one on, YYYY-MM-DD.")
@click.option("--end", callback=day, help="Only days up to this one.")
@click.option(
    "--generation",
    type=click.Choice(["original", "new"]),
    default="original",
    show_default=True,
    help="`original`: the results keep their generations and overwrite no newer rows. `new`: they get a new generation"
    " and overwrite newer rows.",
)
@click.option("--dry-run", is_flag=True, help="Only count.")
@json_option
def replay(
    since: datetime | None, until: datetime | None, start: date | None, end: date | None, **options: Any
) -> None:
    """Write old results to PostgreSQL again, beside live work.

    A generation is the number that a sync request gets when it is accepted; rows of an older one never overwrite newer
    ones. After an interruption, the same command continues.

    \b
    Example: gsc-stream replay --from 2026-01-31T00:00:00Z --property sc-domain:example.com
    """
    settings = read_environment(LedgerSettings)
    if start and end and end < start:
        fail(f"--end: {end} is before --start {start}")
    if since and until and until <= since:
        fail(f"--to: {until.isoformat()} is not after --from {since.isoformat()}")
    selection = Selection(since, until, tuple(options["properties"]), start, end)
    overwrite, dry_run = options["generation"] == "new", options["dry_run"]
    counts = dataclasses.asdict(run(_replay(settings, selection, overwrite=overwrite, dry_run=dry_run)))
    if options["as_json"]:
        print_json({**counts, "dry_run": dry_run})
    else:
        by_property = counts.pop("rows_by_property")
        print_table("Replay" + (" (nothing was written)" if dry_run else ""), ("what", "count"), counts.items())
        print_table("Rows read", ("property", "rows"), sorted(by_property.items()), empty="No rows were read.")


async def _replay(settings: LedgerSettings, selection: Selection, *, overwrite: bool, dry_run: bool) -> ReplayCounts:
    await require_topics(settings)
    await require_schema(settings, "gsc-replay")
    topic = RESULTS.full_name(settings.topic_prefix)
    async with (
        connection(settings.postgres_dsn.get_secret_value(), application="gsc-replay", limits=MAINTENANCE) as conn,
        open_topic_reader(settings.kafka, settings.topic_prefix, topic) as reader,
    ):
        await _check_properties(conn, selection.properties)
        ranges = await reader.between(selection.since, selection.until)
        writer = None if dry_run else Writer(conn, read_environment(SinkSettings).delete_ratio)
        name = Replay(selection, None, None).name
        generation = await begin_generation(conn, name) if overwrite and not dry_run else None
        job = Replay(selection, generation, writer)
        remaining = ranges if dry_run else await begin(conn, job.name, ranges)
        total = sum(item.records for item in remaining.values())
        with progress_bar("replaying") as bar:
            counts = await job.run(
                reader, remaining, conn, lambda so_far: bar(f"{so_far.rows} rows", so_far.messages, total)
            )
        if not dry_run:
            await finish(conn, job.name)
    return counts


async def _check_properties(conn: Connection, urls: Sequence[str]) -> None:
    """Raise Invalid for a property that neither the ledger nor the catalog has; the ledger may be empty."""
    catalog = catalog_if_set()
    known = await runs.properties(conn) | set(catalog.property_by_url if catalog else ())
    for url in urls:
        if url not in known:
            raise Invalid(f"{url!r} is neither in the ledger nor in the catalog (GSC_CATALOG)", field="--property")
