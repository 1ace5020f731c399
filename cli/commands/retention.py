"""`gsc-stream retention`: delete what the reports of the catalog no longer keep."""

import dataclasses

import click

from cli.output import SyncSettings, catalog_of, json_option, print_json, run, settings
from pipeline.clock import now, pacific_date
from pipeline.postgres import connection
from pipeline.retention import Deleted, delete_old
from pipeline.startup_checks import require_schema


@click.command()
@click.option("--dry-run", is_flag=True, help="Only count the rows.")
@json_option
def retention(dry_run: bool, as_json: bool) -> None:
    """Delete rows older than their report's `retention` in the catalog. The planner's timer does it, too."""
    wanted = settings(SyncSettings)
    catalog = catalog_of(wanted)

    async def work() -> Deleted:
        await require_schema(wanted, "gsc-stream")
        async with connection(wanted.postgres_dsn.get_secret_value(), application="gsc-stream") as conn:
            return await delete_old(conn, catalog, pacific_date(now()), dry_run=dry_run)

    told = {**dataclasses.asdict(run(work())), "dry_run": dry_run}
    print_json(told) if as_json else click.echo(", ".join(f"{name}: {value}" for name, value in told.items()))
