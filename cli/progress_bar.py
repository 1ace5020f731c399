"""The progress of a long job on stderr: a bar on a terminal, and elsewhere a line every few seconds."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn

from cli.output import log_progress
from cli.text import duration_text
from lab.progress import ShowProgress
from pipeline.clock import monotonic

LINE_EVERY_S = 5.0
SPEED_OVER_S = 30.0
"""The time left is computed from the speed in this many seconds, not from that since the start."""


@contextmanager
def progress_bar(description: str, *, show: bool = True) -> Iterator[ShowProgress]:
    """Show the progress for the length of a block. Call the result with a text, the amount done, and the total."""
    columns = (BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn(compact=True), TextColumn("{task.description}"))
    on_terminal = sys.stderr.isatty()
    terminal = Console(stderr=True)
    with Progress(
        *columns, console=terminal, disable=not (show and on_terminal), speed_estimate_period=SPEED_OVER_S
    ) as bar:
        task = bar.add_task(description, total=None, start=False)
        lines = ProgressLines(lambda: bar.tasks[0], log_progress if show and not on_terminal else None)
        yield lambda text, done, total: _update(bar, task, lines, (text, done, total))


def _update(bar: Progress, task: TaskID, lines: "ProgressLines", progress: tuple[str, int, int]) -> None:
    text, done, total = progress
    if not bar.tasks[0].started:
        bar.start_task(task)
    bar.update(task, description=text, completed=done, total=total)
    lines.show(monotonic())


class ProgressLines:
    """Prints a line at most every LINE_EVERY_S, and one at the end."""

    def __init__(self, task: Callable[[], Task], write: Callable[[str], None] | None) -> None:
        self._task = task
        self._write = write
        self._next = 0.0

    def show(self, now: float) -> None:
        """Print a line if it is time for one."""
        task = self._task()
        if self._write and (now >= self._next or task.finished):
            self._next = now + LINE_EVERY_S
            left = "" if task.finished else f", time left: {duration_text(task.time_remaining)}"
            self._write(f"{task.completed:,.0f} of {task.total or 0:,.0f} {task.description}{left}")
