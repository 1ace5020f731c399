"""`gsc-stream migrate`: the schema and the views."""

import click

from cli.output import SyncSettings, catalog_of, json_option, print_json, run, settings
from pipeline.postgres import connection
from pipeline.schema import create_report_views
from pipeline.schema import migrate as apply_migrations


@click.command()
@json_option
def migrate(as_json: bool) -> None:
    """Bring the schema up to date, and make the view of every report of the catalog."""
    wanted = settings(SyncSettings)
    catalog = catalog_of(wanted)

    async def work() -> list[str]:
        async with connection(wanted.postgres_dsn.get_secret_value(), application="gsc-stream") as conn:
            applied = await apply_migrations(conn)
            await create_report_views(conn, catalog)
        return applied

    applied = run(work())
    views = [f"gsc.{report.name}" for report in catalog.reports]
    if as_json:
        print_json({"applied": applied, "views": views})
    else:
        click.echo(f"migrations applied: {', '.join(applied) or 'none, all are there'}")
        click.echo(f"views: {', '.join(views)}")
