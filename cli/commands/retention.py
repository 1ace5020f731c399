"""`gsc-stream retention`: delete days that are older than their report keeps."""

from dataclasses import asdict, replace

import click

from cli.context import SyncSettings, load_catalog, read_environment, run
from cli.ledger import open_ledger
from cli.options import json_option
from cli.output import print_json
from pipeline.catalog import Catalog
from pipeline.clock import now
from pipeline.pacific import pacific_date
from pipeline.postgres import MAINTENANCE
from pipeline.retention import Deleted, delete_old, delete_superseded
from pipeline.settings import RetentionSettings


class _Settings(SyncSettings, RetentionSettings):
    """The settings of the command."""


@click.command()
@click.option("--dry-run", is_flag=True, help="Only count the rows.")
@json_option
def retention(dry_run: bool, as_json: bool) -> None:
    """Delete days older than the `retention` of their report, and superseded pages of the ledger.

    A page is superseded when a newer generation has completed its day. It is deleted GSC_SUPERSEDED_DAYS after it was
    finished. The leading producer does the same every day (GSC_RETENTION_CRON).

    \b
    Example: gsc-stream retention --dry-run
    """
    settings = read_environment(_Settings)
    deleted = run(_delete(settings, load_catalog(settings), dry_run=dry_run))
    counts = {**asdict(deleted), "dry_run": dry_run}
    if as_json:
        print_json(counts)
    elif dry_run:
        click.echo(f"{deleted.rows} rows are older than their report keeps. Nothing was deleted.")
    else:
        click.echo(
            f"Deleted {deleted.rows} rows and {deleted.pages} pages older than their report keeps, {deleted.months}"
            f" empty months, and {deleted.superseded} superseded pages."
        )


async def _delete(settings: _Settings, catalog: Catalog, *, dry_run: bool) -> Deleted:
    async with open_ledger(settings, MAINTENANCE) as conn:
        deleted = await delete_old(conn, catalog, pacific_date(now()), dry_run=dry_run)
        if dry_run:
            return deleted
        return replace(deleted, superseded=await delete_superseded(conn, settings.superseded_days))
