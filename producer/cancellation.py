"""Cancelling a run: its pages in the ledger, and a halt that keeps fetchers from its batches."""

from datetime import timedelta

from pipeline.clock import now
from pipeline.contracts.messages import Control
from pipeline.ledger import runs
from pipeline.ledger.runs import Cancelled
from pipeline.postgres import Connection
from pipeline.publisher import Publisher, publish_control

BATCH_RETENTION = timedelta(days=7)
"""As long as `gsc.batches` keeps a batch. Afterwards no fetcher can read a batch of the run."""


async def cancel_run(conn: Connection, publisher: Publisher, prefix: str, halt: Control) -> Cancelled:
    """Cancel the unfinished pages of the run that a halt names, and publish the halt, unless nothing is cancelled.

    Raises Invalid for a run that the ledger does not have.
    """
    run = halt.scope.removeprefix("run:")
    if await runs.can_be_cancelled(conn, run):
        # First: to update the pages of a large run takes a while, in which no call of it may start.
        await publish_control(publisher, prefix, halt)
    return await runs.cancel(conn, run)


def run_halt(run_id: str, reason: str, actor: str) -> Control:
    """Return the halt of a cancelled run."""
    moment = now()
    return Control(
        scope=f"run:{run_id}",
        state="halted",
        reason=f"cancelled: {reason}",
        actor=actor,
        at=moment,
        until=moment + BATCH_RETENTION,
    )
