"""Output of commands: JSON, and tables that fit the terminal and never cut a cell."""

import sys
from collections.abc import Iterable, Sequence

import click
import msgspec
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from cli.text import plain

UNLIMITED = 100_000
"""The width, in characters, of output that is not on a terminal."""
IDENTIFIERS = frozenset({"run", "scope", "property", "credential", "place", "page"})
"""Columns whose cells are typed or copied: they stay on one line, and the others are folded."""
OTHER_WIDTH = 8
"""The least width that a column which is no identifier needs."""
_STYLES = {
    "OK": "green", "applied": "green", "finished": "green", "running": "cyan", "THROTTLED": "yellow",
    "HALTED": "red", "dead": "red", "failed": "red", "cancelled": "yellow",
}  # fmt: skip


def print_json(value: object) -> None:
    """Print one line of JSON. Times are RFC 3339; what JSON has no form for is text."""
    click.echo(msgspec.json.encode(value, enc_hook=str))


def console() -> Console:
    """Return the console of stdout: as wide as the terminal and coloured there, wide and plain elsewhere."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else UNLIMITED, highlight=False)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "") -> None:
    """Print a table, or the sentence `empty` if it has no rows."""
    output = console()
    output.print(build_table(title, columns, rows, empty=empty, width=output.width))


def build_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "", width: int = UNLIMITED
) -> RenderableType:
    """Return a table for a terminal of a width, or the sentence `empty` if it has no rows."""
    cells = [[plain(cell) for cell in row] for row in rows]
    if not cells and empty:
        return Text(empty)
    table = Table(title=title, title_justify="left", title_style="bold", box=_box(width), pad_edge=False)
    fits = _identifiers_fit(columns, cells, width)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=fits and column in IDENTIFIERS)
    for row in cells:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, ""), overflow="fold") for cell in row))
    return table


def _box(width: int) -> box.Box | None:
    return None if width == UNLIMITED else box.SIMPLE_HEAD


def _identifiers_fit(columns: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> bool:
    """Return whether the identifiers fit on one line beside the other columns; rich would cut them otherwise."""
    lengths = [
        max([len(name), *(Text(row[number]).cell_len for row in cells)]) if name in IDENTIFIERS else OTHER_WIDTH
        for number, name in enumerate(columns)
    ]
    return sum(lengths) + 3 * len(columns) <= width


def log_progress(line: str) -> None:
    """Print a line about what the command does, to stderr."""
    click.echo(line, err=True)
