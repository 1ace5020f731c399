"""`gsc-stream resume`: allow calls in a scope again."""

import click

from cli.control import print_control, resume_scope
from cli.options import json_option


@click.command()
@click.argument("scope")
@click.option("--reason", default="", help="Reason, for the record.")
@json_option
def resume(scope: str, reason: str, as_json: bool) -> None:
    """Allow calls in SCOPE again. Its deferred pages are fetched then."""
    control, was_halted = resume_scope(scope, reason)
    if was_halted or as_json:
        print_control(control, as_json)
    else:
        click.echo(f"{scope} is not halted: nothing has changed")
