"""Options that several commands have, and types of options."""

from datetime import date, datetime

import click

from cli.context import fail
from pipeline.contracts.messages import YEARS

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
    _check_year(option, value)
    return value


def day(_: click.Context, option: click.Parameter, text: str | None) -> date | None:
    """Return a date; exit with 2 for anything else."""
    if text is None:
        return None
    try:
        value = date.fromisoformat(text)
    except ValueError:
        fail(f"{option.opts[0]}: {text!r} is not a date, YYYY-MM-DD")
    _check_year(option, value)
    return value


def _check_year(option: click.Parameter, value: date) -> None:
    if value.year not in YEARS:
        fail(f"{option.opts[0]}: the year {value.year} is not from {YEARS.start} to {YEARS.stop - 1}")
