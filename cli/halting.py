"""`gsc-stream halt | resume | halts`."""

import getpass

import click

from cli.output import OperatorSettings, fail, json_option, print_json, print_table, run, settings
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
def halt(scope: str, reason: str, until: str | None) -> None:
    """Stop all calls in SCOPE: all, credential:ID, property:URL, run:ID."""
    _write(scope, "halted", reason, until)
    click.echo(f"halted {scope}")


@click.command()
@click.argument("scope")
@click.option("--reason", default="", help="Why.")
def resume(scope: str, reason: str) -> None:
    """Let calls in SCOPE start again."""
    _write(scope, "running", reason, None)
    click.echo(f"resumed {scope}")


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


def _write(scope: str, state: str, reason: str, until: str | None) -> None:
    wanted = settings(OperatorSettings)
    fields = {"scope": scope, "state": state, "reason": reason, "until": until}
    try:
        control = build_control(fields, now=now(), actor=getpass.getuser())
    except Invalid as error:
        fail(f"{error}, got {fields.get(error.field or '', '')!r}")

    async def work() -> None:
        await require_topics(wanted)
        async with publishing(wanted.kafka, "gsc-stream") as publisher:
            await announce(publisher, wanted.topic_prefix, control)

    run(work())
