"""`gsc-stream status`: what is late, and why; what each credential and property has, and what works."""

import click

from cli.context import LedgerSettings, catalog_if_set, read_environment, run
from cli.display import show
from cli.options import json_option
from cli.status_view import Details, render_status
from pipeline.clock import now
from pipeline.contracts.resources import StatusReport
from pipeline.control import read_halts
from pipeline.postgres import REPORT, connection
from pipeline.settings import QueueSettings, QuotaSettings
from pipeline.startup_checks import require_schema, require_topics
from producer.settings import allowed_qpm
from producer.status_report import StatusReader


class StatusSettings(LedgerSettings, QueueSettings, QuotaSettings):
    """Settings of the command."""


@click.command()
@click.option("--watch", is_flag=True, help="Repeat every two seconds, until Ctrl-C.")
@click.option(
    "--properties", is_flag=True, help="List the properties, those that wait first.  [default: if they are few]"
)
@click.option("--partitions", is_flag=True, help="List the partitions, as their fetchers report them.")
@json_option
def status(watch: bool, properties: bool, partitions: bool, as_json: bool) -> None:
    """Show what is late, and why; then each credential: its newest complete day, pages, and what they wait for.

    The share of a credential in the queue and the time left are computed from GSC_MAX_QUEUE_SIZE, from the quotas and
    from the catalog, as in the services. The time left is that at the full quota.

    \b
    Examples:
      gsc-stream status --watch
      gsc-stream status --properties
    """
    settings = read_environment(StatusSettings)
    details = Details(properties, partitions)
    show(
        lambda: run(_read_status(settings)),
        lambda report, size: render_status(report, size, details),
        as_json=as_json,
        watch=watch,
    )


async def _read_status(settings: StatusSettings) -> StatusReport:
    await require_topics(settings)
    await require_schema(settings, "gsc-stream")
    catalog = catalog_if_set()
    reader = StatusReader(
        settings.kafka,
        settings.topic_prefix,
        settings.max_queue_size,
        lambda credential: allowed_qpm(settings, catalog, credential),
    )
    halts = (await read_halts(settings.kafka, settings.topic_prefix)).active(now())
    async with connection(settings.postgres_dsn.get_secret_value(), application="gsc-stream", limits=REPORT) as conn:
        return await reader.read(conn, halts, catalog)
