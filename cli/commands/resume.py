"""`gsc-stream resume`: allow calls in a scope again."""

import click

from cli.control import print_control, set_state
from cli.options import json_option


@click.command()
@click.argument("scope")
@click.option("--reason", default="", help="Reason, for the record.")
@json_option
def resume(scope: str, reason: str, as_json: bool) -> None:
    """Allow calls in SCOPE again. Its deferred pages are fetched then."""
    print_control(set_state(scope, "running", reason, None), as_json)
