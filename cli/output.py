"""What all commands share: settings, errors in a line, tables and JSON."""

import asyncio
import json
import os
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from lab.errors import LabError
from pipeline.catalog import Catalog, CatalogError
from pipeline.catalog_file import read_catalog
from pipeline.errors import Invalid, PipelineError
from pipeline.process import EXIT_USAGE, StartError, load_settings
from pipeline.settings import CatalogSettings, KafkaSettings, PostgresSettings, Settings

S = TypeVar("S", bound=Settings)
T = TypeVar("T")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


class OperatorSettings(KafkaSettings):
    """Commands that only talk to Kafka."""


class LedgerSettings(KafkaSettings, PostgresSettings):
    """Commands that talk to Kafka and read the ledger."""


class SyncSettings(LedgerSettings, CatalogSettings):
    """Commands that need everything but Google."""


def settings(model: type[S]) -> S:
    """The settings of a command, from the environment; exit 2 with a line for each problem."""
    return load_settings(model, os.environ)  # noqa: TID251 - the command line's one place


def environment(name: str) -> str | None:
    """A variable that is no setting of a service."""
    return os.environ.get(name)  # noqa: TID251 - the command line's one place


def catalog_of(wanted: CatalogSettings) -> Catalog:
    """The catalog; exit 2 with a line for each problem."""
    try:
        return read_catalog(wanted.catalog)
    except CatalogError as error:
        fail(str(error))


def catalog_if_named() -> Catalog | None:
    """The catalog, for commands that only look something up in it: None when it is not named or cannot be used."""
    named = environment("GSC_CATALOG")
    try:
        return read_catalog(Path(named)) if named else None
    except CatalogError:
        return None


def fail_for(error: Invalid, given: Mapping[str, Any]) -> NoReturn:
    """Say what is wrong with what was given, by the field's name, and end."""
    value = given.get(error.field or "")
    fail(str(error) if value is None else f"{error}, got {value!r}")


def fail(text: str, code: int = EXIT_USAGE) -> NoReturn:
    """Say what is wrong on stderr, and end."""
    click.echo(text, err=True)
    raise SystemExit(code)


class ANumber(click.FloatRange):
    """A range that holds no `nan`, which is in none and out of none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; click tells what is wrong with it."""
        number: float = super().convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def a_moment(_: click.Context, option: click.Parameter, text: str | None) -> datetime | None:
    """An option that is a time; exit 2 when it is not one, or has no offset."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{option.opts[0]}: {text!r} is not a time in ISO 8601")
    if moment.tzinfo is None:
        fail(f"{option.opts[0]}: {text!r} has no offset from UTC, such as Z or +01:00")
    return moment


def a_day(_: click.Context, option: click.Parameter, text: str | None) -> date | None:
    """An option that is a day; exit 2 when it is not one."""
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        fail(f"{option.opts[0]}: {text!r} is not a day, YYYY-MM-DD")


@contextmanager
def progress_bar(description: str, *, show: bool = True) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr, for the length of a block; what is given sets its text, how much is done, and of how much."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), disable=not show) as bar:
        task = bar.add_task(description, total=None)
        yield lambda text, done, total: bar.update(task, description=text, completed=done, total=total)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work; whatever the servers or the lab refuse is a line on stderr and exit 2."""
    try:
        return asyncio.run(work)
    except (PipelineError, StartError, CatalogError, LabError) as error:
        fail(str(error))


def print_json(value: object) -> None:
    """One line of JSON."""
    click.echo(json.dumps(value, default=str))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table for people."""
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console().print(table)
