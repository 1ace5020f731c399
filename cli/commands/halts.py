"""`gsc-stream halts`: what is halted."""

import click

from cli.output import (
    OperatorSettings,
    json_option,
    print_json,
    print_table,
    run,
    settings,
)
from pipeline.clock import now
from pipeline.contracts.messages import Control
from pipeline.control import read_halts
from pipeline.startup_checks import require_topics


@click.command()
@json_option
def halts(as_json: bool) -> None:
    """List what is halted."""
    wanted = settings(OperatorSettings)

    async def work() -> list[Control]:
        await require_topics(wanted)
        return (await read_halts(wanted.kafka, wanted.topic_prefix)).active(now())

    active = run(work())
    rows = [(c.scope, c.reason, c.actor, c.at.isoformat(), c.until.isoformat() if c.until else None) for c in active]
    names = ("scope", "reason", "actor", "at", "until")
    if as_json:
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        print_table("Halts", names, rows)
