"""Showing a value once, or again and again in place."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.live import Live

from cli.output import UNLIMITED, console, print_json

WATCH_EVERY_S = 2.0

T = TypeVar("T")
Render = Callable[[T, ConsoleDimensions], Sequence[RenderableType]]
"""Returns what to show of a value on a terminal of a size. Elsewhere the size is UNLIMITED."""


def show(
    read: Callable[[], T],
    render: Render[T],
    *,
    as_json: bool,
    watch: bool = False,
    until: Callable[[T], bool] = lambda _: False,
) -> T:
    """Read a value and show it. With `watch`, do it again every WATCH_EVERY_S, in place on a terminal.

    Returns the last value: the first one without `watch`, otherwise the first one for which `until` is true.
    """
    output = console()
    with _screen(output, in_place=watch and not as_json and output.is_terminal) as update:
        while True:
            value = read()
            print_json(value) if as_json else update(Group(*render(value, _size(output))))
            if not watch or until(value):
                return value
            time.sleep(WATCH_EVERY_S)


def _size(output: Console) -> ConsoleDimensions:
    return output.size if output.is_terminal else ConsoleDimensions(UNLIMITED, UNLIMITED)


@contextmanager
def _screen(output: Console, *, in_place: bool) -> Iterator[Callable[[RenderableType], None]]:
    if not in_place:
        yield output.print
        return
    with Live(console=output, auto_refresh=False) as live:
        yield lambda content: live.update(content, refresh=True)
