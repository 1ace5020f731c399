"""`gsc-stream migrate | topics`: what has to be there before the services start."""

import click

from cli.output import OperatorSettings, SyncSettings, catalog_of, json_option, print_json, run, settings
from pipeline.contracts.topics import ALL
from pipeline.kafka_admin import check_topics, ensure_topics
from pipeline.postgres import connection, create_report_views
from pipeline.postgres import migrate as apply_migrations
from pipeline.running import require_kafka


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


@click.command()
@click.option("--check", is_flag=True, help="Only tell what differs; exit 1 if anything does.")
@click.option(
    "--replication",
    default=-1,
    type=click.IntRange(-1, 100),
    show_default="the broker's default",
    help="Replicas of new topics.",
)
@json_option
def topics(check: bool, replication: int, as_json: bool) -> None:
    """Create the topics that are missing."""
    wanted = settings(OperatorSettings)
    run(require_kafka(wanted))
    if check:
        problems = run(check_topics(wanted.kafka, wanted.topic_prefix))
        told = problems or [f"all {len(ALL)} topics are as they should be"]
        print_json({"problems": problems}) if as_json else click.echo("\n".join(told))
        raise SystemExit(1 if problems else 0)
    created = run(ensure_topics(wanted.kafka, wanted.topic_prefix, replication=replication))
    if as_json:
        print_json({"created": created})
    else:
        click.echo(f"created: {', '.join(created) or 'none, all are there'}")
