"""Output of commands: JSON, tables, and the progress bar."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

UNLIMITED = 100_000
"""The width, in characters, of output that is not on a terminal."""


def print_json(value: object) -> None:
    """Print one line of JSON."""
    click.echo(json.dumps(value, default=str))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "") -> None:
    """Print a table, or the sentence `empty` if it has no rows. None is an empty cell.

    Cells are never cut: on a terminal long ones are wrapped, elsewhere the table is as wide as it must be.
    """
    cells = [[Text("" if cell is None else str(cell), overflow="fold") for cell in row] for row in rows]
    if not cells and empty:
        click.echo(empty)
        return
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*row)
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else UNLIMITED).print(table)


def log_progress(line: str) -> None:
    """Print a line about what the command does, to stderr."""
    click.echo(line, err=True)


@contextmanager
def progress_bar(description: str, *, show: bool = True) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar on stderr for the length of a block. Call the result with a text, the amount done, and the total."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), disable=not show) as bar:
        task = bar.add_task(description, total=None)
        yield lambda text, done, total: bar.update(task, description=text, completed=done, total=total)
