"""`gsc-stream migrate`: create or upgrade the database schema and the views."""

import click

from cli.context import SyncSettings, load_catalog, read_environment, run
from cli.options import json_option
from cli.output import print_json
from pipeline.catalog import Catalog
from pipeline.postgres import MAINTENANCE, connection
from pipeline.report_views import create_report_views
from pipeline.schema import migrate as apply_migrations


@click.command()
@json_option
def migrate(as_json: bool) -> None:
    """Apply missing migrations, and create the view of every report of the catalog.

    \b
    Example: GSC_CATALOG=catalog.yaml gsc-stream migrate
    """
    settings = read_environment(SyncSettings)
    catalog = load_catalog(settings)
    applied = run(_migrate(settings, catalog))
    views = [f"gsc.{report.name}" for report in catalog.reports]
    if as_json:
        print_json({"applied": applied, "views": views})
    else:
        click.echo(f"migrations applied: {', '.join(applied) or 'none were missing'}")
        click.echo(f"views: {', '.join(views)}")


async def _migrate(settings: SyncSettings, catalog: Catalog) -> list[str]:
    async with connection(
        settings.postgres_dsn.get_secret_value(), application="gsc-stream", limits=MAINTENANCE
    ) as conn:
        applied = await apply_migrations(conn)
        await create_report_views(conn, catalog)
    return applied
