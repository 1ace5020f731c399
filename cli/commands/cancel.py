"""`gsc-stream cancel`: cancel a run."""

from datetime import timedelta

import click

from cli.context import LedgerSettings, current_user, read_environment, run
from cli.options import json_option
from cli.output import print_json
from pipeline.clock import now
from pipeline.contracts.messages import Control
from pipeline.ledger import runs
from pipeline.ledger.runs import Cancelled
from pipeline.postgres import MAINTENANCE, connection
from pipeline.publisher import open_publisher, publish_control
from pipeline.startup_checks import require_schema, require_topics

BATCH_RETENTION = timedelta(days=7)
"""As long as `gsc.batches` keeps a batch. Afterwards no fetcher can read a batch of the run."""


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
        print_json({"run_id": run_id, "cancelled_pages": cancelled.pages})
    elif cancelled.pages or cancelled.unplanned:
        click.echo(f"cancelled {cancelled.pages} pages of run {run_id}")
    else:
        click.echo(f"run {run_id} has no unfinished pages: nothing to cancel")


async def _cancel(settings: LedgerSettings, run_id: str, reason: str) -> Cancelled:
    """Cancel the unfinished pages, and halt the run, so that no fetcher starts a batch of it."""
    await require_topics(settings)
    await require_schema(settings, "gsc-stream")
    async with connection(
        settings.postgres_dsn.get_secret_value(), application="gsc-stream", limits=MAINTENANCE
    ) as conn:
        cancelled = await runs.cancel(conn, run_id)
    if cancelled.pages == cancelled.before == 0:
        return cancelled
    moment = now()
    halt = Control(
        scope=f"run:{run_id}",
        state="halted",
        reason=f"cancelled: {reason}",
        actor=current_user(),
        at=moment,
        until=moment + BATCH_RETENTION,
    )
    async with open_publisher(settings.kafka, "gsc-stream") as publisher:
        await publish_control(publisher, settings.topic_prefix, halt)
    return cancelled
