"""Output of commands: JSON, tables, and the progress bar."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table


def print_json(value: object) -> None:
    """Print one line of JSON."""
    click.echo(json.dumps(value, default=str))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table."""
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console().print(table)


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
