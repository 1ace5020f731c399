"""`gsc-stream halt`: no call may start in a scope."""

import click

from cli.control import show_control, write_control
from cli.output import (
    json_option,
)


@click.command()
@click.argument("scope")
@click.option("--reason", required=True, help="Why, for whoever finds it.")
@click.option("--until", help="When it ends by itself, ISO 8601 with an offset.  [default: until resumed]")
@json_option
def halt(scope: str, reason: str, until: str | None, as_json: bool) -> None:
    """Stop all calls in SCOPE: all, credential:ID, property:URL, run:ID."""
    show_control(write_control(scope, "halted", reason, until), as_json)
