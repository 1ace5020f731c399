"""The progress of long jobs off a terminal: a line every few seconds, with an honest time left."""

import pytest
from rich.progress import Progress

from cli.progress_bar import LINE_EVERY_S, ProgressLines, progress_bar


def test_off_a_terminal_the_progress_is_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("pages") as show:
        for done in range(1, 101):
            show("pages; 7 rows", done, 100)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "1 of 100 pages; 7 rows, time left: unknown"
    assert lines[-1] == "100 of 100 pages; 7 rows"
    assert len(lines) == 2


def test_a_hidden_progress_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("pages", show=False) as show:
        show("pages", 1, 2)
    assert capsys.readouterr().err == ""


def test_the_time_left_is_that_at_the_recent_speed() -> None:
    clock = [0.0]
    progress = Progress(disable=True, get_time=lambda: clock[0], speed_estimate_period=30)
    task = progress.add_task("pages", total=1000)
    printed: list[str] = []
    lines = ProgressLines(lambda: progress.tasks[0], printed.append)
    for second in range(1, 101):  # one page a second, and ten a second in the last 40 seconds
        clock[0] = float(second)
        progress.update(task, completed=second if second <= 60 else 60 + 10 * (second - 60))
        lines.show(clock[0])
    assert len(printed) == 100 / LINE_EVERY_S
    assert printed[-1] == "420 of 1,000 pages, time left: 58 s"
