"""`gsc-stream halts`: list the active halts."""

import click

from cli.context import read_environment, run
from cli.options import json_option
from cli.output import print_json, print_table
from pipeline.clock import now
from pipeline.contracts.messages import Control
from pipeline.control import read_halts
from pipeline.settings import KafkaSettings
from pipeline.startup_checks import require_topics

_COLUMNS = ("scope", "reason", "actor", "at", "until")


@click.command()
@json_option
def halts(as_json: bool) -> None:
    """List the active halts."""
    active = run(_active_halts(read_environment(KafkaSettings)))
    rows = [(c.scope, c.reason, c.actor, c.at.isoformat(), c.until.isoformat() if c.until else None) for c in active]
    if as_json:
        print_json([dict(zip(_COLUMNS, row, strict=True)) for row in rows])
    else:
        print_table("Halts", _COLUMNS, rows)


async def _active_halts(settings: KafkaSettings) -> list[Control]:
    await require_topics(settings)
    return (await read_halts(settings.kafka, settings.topic_prefix)).active(now())
