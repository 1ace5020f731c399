"""`gsc-stream halt | resume | halts`."""

import getpass
from datetime import datetime

import click

from cli.output import OperatorSettings, fail, json_option, print_json, print_table, run, settings
from pipeline.clock import now
from pipeline.contracts.messages import Control
from pipeline.contracts.scopes import parse_scope
from pipeline.control import ControlWatcher, announce
from pipeline.errors import Invalid
from pipeline.kafka import Publisher
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
        watcher = ControlWatcher(wanted.kafka, wanted.topic_prefix)
        await watcher.start()
        await watcher.close()
        return watcher.halts.active(now())

    active = run(work())
    rows = [(c.scope, c.reason, c.actor, c.at.isoformat(), c.until.isoformat() if c.until else None) for c in active]
    names = ("scope", "reason", "actor", "at", "until")
    if as_json:
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        print_table("Halts", names, rows)


def _write(scope: str, state: str, reason: str, until: str | None) -> None:
    wanted = settings(OperatorSettings)
    try:
        control = Control(
            scope=parse_scope(scope),
            state="halted" if state == "halted" else "running",
            reason=reason,
            actor=getpass.getuser(),
            at=now(),
            until=_moment(until),
        )
    except Invalid as error:
        fail(str(error))

    async def work() -> None:
        await require_topics(wanted)
        publisher = Publisher(wanted.kafka, "gsc-stream")
        try:
            await announce(publisher, wanted.topic_prefix, control)
        finally:
            await publisher.close()

    run(work())


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Invalid(f"{text!r} is not a time in ISO 8601", field="until") from error
    if moment.tzinfo is None:
        raise Invalid(f"{text!r} has no offset from UTC", field="until")
    if moment <= now():
        raise Invalid(f"{text!r} is in the past", field="until")
    return moment
