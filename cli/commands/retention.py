"""`gsc-stream retention`: delete days that are older than their report keeps."""

import dataclasses

import click

from cli.context import SyncSettings, load_catalog, read_environment, run
from cli.options import json_option
from cli.output import print_json
from pipeline.catalog import Catalog
from pipeline.clock import now
from pipeline.pacific import pacific_date
from pipeline.postgres import MAINTENANCE, connection
from pipeline.retention import Deleted, delete_old
from pipeline.startup_checks import require_schema


@click.command()
@click.option("--dry-run", is_flag=True, help="Only count the rows.")
@json_option
def retention(dry_run: bool, as_json: bool) -> None:
    """Delete days older than the `retention` of their report. The producer's daily timer does the same."""
    settings = read_environment(SyncSettings)
    deleted = run(_delete(settings, load_catalog(settings), dry_run=dry_run))
    counts = {**dataclasses.asdict(deleted), "dry_run": dry_run}
    print_json(counts) if as_json else click.echo(", ".join(f"{name}: {value}" for name, value in counts.items()))


async def _delete(settings: SyncSettings, catalog: Catalog, *, dry_run: bool) -> Deleted:
    await require_schema(settings, "gsc-stream")
    async with connection(
        settings.postgres_dsn.get_secret_value(), application="gsc-stream", limits=MAINTENANCE
    ) as conn:
        return await delete_old(conn, catalog, pacific_date(now()), dry_run=dry_run)
