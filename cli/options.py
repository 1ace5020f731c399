"""Options that several commands have, and types of options."""

from datetime import date, datetime

import click

from cli.context import fail

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def moment(_: click.Context, option: click.Parameter, text: str | None) -> datetime | None:
    """Return a time with a UTC offset; exit with 2 for anything else."""
    if text is None:
        return None
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{option.opts[0]}: {text!r} is not an ISO 8601 time, such as 2026-01-31T12:00:00Z")
    if value.tzinfo is None:
        fail(f"{option.opts[0]}: {text!r} has no UTC offset, such as Z or +01:00")
    return value


def day(_: click.Context, option: click.Parameter, text: str | None) -> date | None:
    """Return a date; exit with 2 for anything else."""
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        fail(f"{option.opts[0]}: {text!r} is not a date, YYYY-MM-DD")
