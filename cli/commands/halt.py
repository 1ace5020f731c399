"""`gsc-stream halt`: stop calls in a scope."""

import click

from cli.control import halt_scope, print_control
from cli.options import json_option


@click.command()
@click.argument("scope")
@click.option("--reason", required=True, help="Reason, for whoever finds the halt.")
@click.option("--until", help="When the halt ends, an ISO 8601 time with a UTC offset.  [default: until resumed]")
@json_option
def halt(scope: str, reason: str, until: str | None, as_json: bool) -> None:
    """Stop all calls in SCOPE: all, project:ID, credential:ID, property:URL or run:ID.

    \b
    Example: gsc-stream halt credential:acme --reason "too many calls" --until 2026-01-31T12:00:00Z
    """
    print_control(halt_scope(scope, reason, until), as_json)
