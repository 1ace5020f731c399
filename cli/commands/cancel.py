"""`gsc-stream cancel`: cancel a run."""

import click

from cli.context import LedgerSettings, current_user, read_environment, run
from cli.options import json_option
from cli.output import print_json
from pipeline.contracts.resources import CancelledRun
from pipeline.ledger.runs import Cancelled
from pipeline.postgres import MAINTENANCE, connection
from pipeline.publisher import open_publisher
from pipeline.startup_checks import require_schema, require_topics
from producer.cancellation import cancel_run, run_halt


@click.command()
@click.argument("run_id")
@click.option("--reason", required=True, help="Reason, for the record.")
@json_option
def cancel(run_id: str, reason: str, as_json: bool) -> None:
    """Cancel a run: its unfinished pages are not fetched, and its calls in flight end.

    \b
    Example: gsc-stream cancel RUN_ID --reason "wrong days"
    """
    cancelled = run(_cancel(read_environment(LedgerSettings), run_id, reason))
    if as_json:
        print_json(CancelledRun(run_id, cancelled.pages))
    elif cancelled.pages or cancelled.unplanned:
        click.echo(f"cancelled {cancelled.pages} pages of run {run_id}")
    else:
        click.echo(f"run {run_id} has no unfinished pages: nothing to cancel")


async def _cancel(settings: LedgerSettings, run_id: str, reason: str) -> Cancelled:
    await require_topics(settings)
    await require_schema(settings, "gsc-stream")
    dsn = settings.postgres_dsn.get_secret_value()
    async with (
        connection(dsn, application="gsc-stream", limits=MAINTENANCE) as conn,
        open_publisher(settings.kafka, "gsc-stream") as publisher,
    ):
        return await cancel_run(conn, publisher, settings.topic_prefix, run_halt(run_id, reason, current_user()))
