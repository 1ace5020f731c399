"""What all commands share: settings, errors in a line, tables and JSON."""

import asyncio
import json
import os
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, NoReturn, TypeVar

import click
from rich.console import Console
from rich.table import Table

from lab.errors import LabError
from pipeline.catalog import Catalog, CatalogError, read_catalog
from pipeline.errors import PipelineError
from pipeline.running import REFUSED, StartError, load
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
    return load(model, os.environ)  # noqa: TID251 - the command line's one place


def environment(name: str) -> str | None:
    """A variable that is no setting of a service."""
    return os.environ.get(name)  # noqa: TID251 - the command line's one place


def catalog_of(wanted: CatalogSettings) -> Catalog:
    """The catalog; exit 2 with a line for each problem."""
    try:
        return read_catalog(wanted.catalog)
    except CatalogError as error:
        fail(str(error))


def fail(text: str, code: int = REFUSED) -> NoReturn:
    """Say what is wrong on stderr, and end."""
    click.echo(text, err=True)
    raise SystemExit(code)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work; whatever the servers or the lab refuse is a line on stderr and exit 2."""
    try:
        return asyncio.run(work)
    except (PipelineError, StartError, LabError) as error:
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
