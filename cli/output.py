"""Output of commands: JSON, and tables that fit the terminal and never cut a cell."""

import sys
from collections.abc import Iterable, Iterator, Sequence

import click
import msgspec
from rich.cells import cell_len, set_cell_size
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from cli.text import plain

UNLIMITED = 100_000
"""The width, in characters, of output that is not on a terminal."""
IDENTIFIERS = frozenset({"run", "scope", "property", "credential", "position", "page"})
"""Columns whose cells are typed or copied: they stay on one line, and the others are folded."""
GAP = 2
"""Blanks between two columns."""
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
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    empty: str = "",
    width: int = UNLIMITED,
    cut: str | None = None,
) -> RenderableType:
    """Return a table for a terminal of a width, or the sentence `empty` if it has no rows.

    `cut` is a column whose cells are shortened, so that every row is one line if the other columns fit.
    """
    cells = [[plain(cell) for cell in row] for row in rows]
    if not cells and empty:
        return Text(empty)
    if width == UNLIMITED:
        return Text("\n".join(_plain_lines(title, columns, cells)), no_wrap=True, overflow="ignore")
    widths = _widths(columns, cells)
    if cut in columns:
        _shorten(cells, columns.index(cut), width - sum(widths) + widths[columns.index(cut)] - len(columns) * GAP)
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, padding=(0, GAP, 0, 0), pad_edge=False
    )
    fits = _identifiers_fit(columns, widths, width)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=fits and column in IDENTIFIERS)
    for row in cells:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, ""), overflow="fold") for cell in row))
    return table


def _plain_lines(title: str, columns: Sequence[str], cells: Sequence[Sequence[str]]) -> Iterator[str]:
    """Return the lines of a table without a border, which other programs read."""
    widths = _widths(columns, cells)
    yield from filter(None, [title])
    for row in filter(any, (columns, *cells)):
        texts = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(texts).rstrip()


def _widths(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> list[int]:
    """Return how wide each column is on the screen."""
    return [max(map(cell_len, texts)) for texts in zip(columns, *cells, strict=True)]


def _shorten(cells: Sequence[list[str]], column: int, width: int) -> None:
    room = max(width, OTHER_WIDTH)
    for row in cells:
        if cell_len(row[column]) > room:
            row[column] = set_cell_size(row[column], room - 1) + "…"


def _identifiers_fit(columns: Sequence[str], widths: Sequence[int], width: int) -> bool:
    """Return whether the identifiers fit on one line beside the other columns; rich would cut them otherwise."""
    needed = [
        length if name in IDENTIFIERS else min(length, OTHER_WIDTH)
        for name, length in zip(columns, widths, strict=True)
    ]
    return sum(needed) + GAP * len(columns) <= width


def log_progress(line: str) -> None:
    """Print a line about what the command does, to stderr."""
    click.echo(line, err=True)
