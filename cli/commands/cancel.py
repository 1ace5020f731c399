"""`gsc-stream cancel`: a run that is not wanted any more."""

import getpass
from datetime import timedelta

import click

from cli.output import LedgerSettings, json_option, print_json, run, settings
from pipeline.clock import now
from pipeline.contracts.messages import Control
from pipeline.control import publish_control
from pipeline.ledger import runs
from pipeline.postgres import connection
from pipeline.publisher import open_publisher
from pipeline.startup_checks import require_schema, require_topics

ON_ITS_WAY = timedelta(days=7)
"""As long as `gsc.batches` keeps a batch; later nothing of the run can be read any more."""


@click.command()
@click.argument("run_id")
@click.option("--reason", required=True, help="Why.")
@json_option
def cancel(run_id: str, reason: str, as_json: bool) -> None:
    """Cancel a run: its pages without rows get none, and its calls under way end."""
    wanted = settings(LedgerSettings)
    pages = run(_cancel(wanted, run_id, reason))
    if as_json:
        print_json({"run_id": run_id, "cancelled_pages": pages})
    else:
        click.echo(f"cancelled {pages} pages of run {run_id}")


async def _cancel(wanted: LedgerSettings, run_id: str, reason: str) -> int:
    await require_topics(wanted)
    await require_schema(wanted, "gsc-stream")
    async with connection(wanted.postgres_dsn.get_secret_value(), application="gsc-stream") as conn:
        pages = await runs.cancel(conn, run_id)
    moment = now()
    halt = Control(
        scope=f"run:{run_id}",
        state="halted",
        reason=f"cancelled: {reason}",
        actor=getpass.getuser(),
        at=moment,
        until=moment + ON_ITS_WAY,
    )
    async with open_publisher(wanted.kafka, "gsc-stream") as publisher:
        await publish_control(publisher, wanted.topic_prefix, halt)
    return pages
