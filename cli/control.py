"""Writing a control record from the command line: what `halt` and `resume` share."""

import getpass

import click
import msgspec

from cli.output import (
    OperatorSettings,
    catalog_if_named,
    fail_for,
    print_json,
    run,
    settings,
)
from pipeline.clock import now
from pipeline.contracts.halts import build_control
from pipeline.contracts.messages import Control
from pipeline.control import publish_control
from pipeline.errors import Invalid
from pipeline.publisher import open_publisher
from pipeline.startup_checks import require_topics


def write_control(scope: str, state: str, reason: str, until: str | None) -> Control:
    """Check the options and write the record; exit 2 for what is wrong."""
    wanted = settings(OperatorSettings)
    fields = {"scope": scope, "state": state, "reason": reason, "until": until}
    try:
        control = build_control(fields, now=now(), actor=getpass.getuser())
    except Invalid as error:
        fail_for(error, fields)

    async def work() -> None:
        await require_topics(wanted)
        async with open_publisher(wanted.kafka, "gsc-stream") as publisher:
            await publish_control(publisher, wanted.topic_prefix, control)

    run(work())
    return control


def show_control(control: Control, as_json: bool) -> None:
    """What was written; and, once it is, whether the catalog knows its scope: no halt waits for a file."""
    if as_json:
        whole = msgspec.to_builtins(control)
        print_json({name: whole[name] for name in ("scope", "state", "reason", "actor", "at", "until")})
    else:
        click.echo(f"{'halted' if control.state == 'halted' else 'resumed'} {control.scope}")
    catalog = catalog_if_named()
    if catalog is not None and (unknown := catalog.unknown_scope(control.scope)):
        click.echo(f"scope: the catalog has no {unknown}; it is written all the same", err=True)
