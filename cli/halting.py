"""`gsc-stream halt | resume | halts`."""

import getpass

import click
import msgspec

from cli.output import (
    OperatorSettings,
    catalog_if_named,
    fail_for,
    json_option,
    print_json,
    print_table,
    run,
    settings,
)
from pipeline.clock import now
from pipeline.contracts.halts import build_control
from pipeline.contracts.messages import Control
from pipeline.control import announce, read_halts
from pipeline.errors import Invalid
from pipeline.kafka import publishing
from pipeline.running import require_topics


@click.command()
@click.argument("scope")
@click.option("--reason", required=True, help="Why, for whoever finds it.")
@click.option("--until", help="When it ends by itself, ISO 8601 with an offset.  [default: until resumed]")
@json_option
def halt(scope: str, reason: str, until: str | None, as_json: bool) -> None:
    """Stop all calls in SCOPE: all, credential:ID, property:URL, run:ID."""
    _tell(_write(scope, "halted", reason, until), as_json)


@click.command()
@click.argument("scope")
@click.option("--reason", default="", help="Why.")
@json_option
def resume(scope: str, reason: str, as_json: bool) -> None:
    """Let calls in SCOPE start again."""
    _tell(_write(scope, "running", reason, None), as_json)


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


def _write(scope: str, state: str, reason: str, until: str | None) -> Control:
    wanted = settings(OperatorSettings)
    fields = {"scope": scope, "state": state, "reason": reason, "until": until}
    try:
        control = build_control(fields, now=now(), actor=getpass.getuser())
    except Invalid as error:
        fail_for(error, fields)

    async def work() -> None:
        await require_topics(wanted)
        async with publishing(wanted.kafka, "gsc-stream") as publisher:
            await announce(publisher, wanted.topic_prefix, control)

    run(work())
    return control


def _tell(control: Control, as_json: bool) -> None:
    """What was written; and, once it is, whether the catalog knows its scope: no halt waits for a file."""
    if as_json:
        whole = msgspec.to_builtins(control)
        print_json({name: whole[name] for name in ("scope", "state", "reason", "actor", "at", "until")})
    else:
        click.echo(f"{'halted' if control.state == 'halted' else 'resumed'} {control.scope}")
    catalog = catalog_if_named()
    if catalog is not None and (unknown := catalog.unknown_in(control.scope)):
        click.echo(f"scope: the catalog has no {unknown}; it is written all the same", err=True)
