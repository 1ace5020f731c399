"""`gsc-stream halts`: list the active halts."""

import click

from cli.context import read_environment, run
from cli.options import json_option
from cli.output import print_json, print_table
from pipeline.clock import now
from pipeline.contracts.halts import halt_record
from pipeline.contracts.messages import Control
from pipeline.contracts.resources import HaltList
from pipeline.control import read_halts
from pipeline.settings import KafkaSettings
from pipeline.startup_checks import require_topics

_COLUMNS = ("scope", "cause", "reason", "actor", "at", "until")


@click.command()
@json_option
def halts(as_json: bool) -> None:
    """List the active halts.

    \b
    Example: gsc-stream halts --json
    """
    active = run(_active_halts(read_environment(KafkaSettings)))
    records = [halt_record(control) for control in active]
    if as_json:
        print_json(HaltList(records))
    else:
        rows = [[getattr(record, name) for name in _COLUMNS] for record in records]
        print_table("Halts", _COLUMNS, rows, empty="Nothing is halted.")


async def _active_halts(settings: KafkaSettings) -> list[Control]:
    await require_topics(settings)
    return (await read_halts(settings.kafka, settings.topic_prefix)).active(now())
