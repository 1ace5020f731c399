"""`gsc-stream resume`: calls in a scope may start again."""

import click

from cli.control import show_control, write_control
from cli.output import (
    json_option,
)


@click.command()
@click.argument("scope")
@click.option("--reason", default="", help="Why.")
@json_option
def resume(scope: str, reason: str, as_json: bool) -> None:
    """Let calls in SCOPE start again."""
    show_control(write_control(scope, "running", reason, None), as_json)
