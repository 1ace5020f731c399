"""`gsc-stream runs`, with the ledger in memory."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.__main__ import main
from cli.commands import runs as command
from pipeline.contracts.resources import RunProgress
from pipeline.ledger import runs as ledger
from support.examples import a_run

RUNNING = a_run({"applied": 6, "pending": 4}, run_id="run-2", finished_last_minute=2)
FINISHED = a_run({"applied": 3, "dead": 1})


class Ledger:
    """Runs, the newest first; after each reading of one run, it is finished."""

    def __init__(self, *runs: RunProgress) -> None:
        self.runs = {run.run_id: run for run in runs}

    async def newest(self, _: Any, limit: int) -> list[RunProgress]:
        return list(self.runs.values())[:limit]

    async def progress(self, _: Any, run: str) -> RunProgress | None:
        found = self.runs.get(run)
        if found:
            self.runs[run] = a_run({"applied": 9, "dead": 1}, run_id=run)
        return found


@asynccontextmanager
async def open_ledger(*_: object) -> AsyncIterator[None]:
    """The database, which is not asked."""
    yield None


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Any:
    def invoke(*arguments: str, of: tuple[RunProgress, ...] = (RUNNING, FINISHED)) -> Result:
        stored = Ledger(*of)
        monkeypatch.setattr(ledger, "newest", stored.newest)
        monkeypatch.setattr(ledger, "progress", stored.progress)
        return CliRunner().invoke(main, ("runs", *arguments), env={"GSC_POSTGRES_DSN": "postgresql://x"})

    monkeypatch.setattr(command, "open_ledger", open_ledger)
    monkeypatch.setattr("cli.display.WATCH_EVERY_S", 0.0)
    return invoke


def test_the_newest_runs_are_listed_with_the_time_left(runs: Any) -> None:
    lines = runs().stdout.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["run-2", "run-1"]
    assert lines[2].split()[-6:] == ["6", "of", "10", "7", "2", "min"]
    assert "None" not in runs().stdout


def test_without_runs_a_sentence_says_so(runs: Any) -> None:
    assert runs(of=()).stdout == "There are no runs: nothing was requested yet.\n"


def test_one_run_is_shown_with_its_pages_by_state(runs: Any) -> None:
    result = runs("run-1")
    assert result.exit_code == 0
    assert "3 applied, 1 dead" in result.stdout


def test_a_speed_of_nothing_gives_no_time_left(runs: Any) -> None:
    result = runs("run-1", of=(a_run({"pending": 1}),))
    assert "unknown: no page was finished in the last minute" in result.stdout


def test_an_unknown_run_is_an_error_with_the_nearest_id(runs: Any) -> None:
    result = runs("run-22")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "RUN_ID: no run 'run-22' in the ledger; did you mean 'run-2'?\n"


def test_a_watched_run_ends_when_it_is_finished_with_1_for_dead_pages(runs: Any) -> None:
    result = runs("run-2", "--watch", "--json")
    assert result.exit_code == 1
    assert [json.loads(line)["state"] for line in result.stdout.splitlines()] == ["running", "finished"]


def test_json_lists_runs_under_one_name(runs: Any) -> None:
    [first, second] = json.loads(runs("--json").stdout)["runs"]
    assert (first["run_id"], first["pages"]) == ("run-2", {"applied": 6, "pending": 4})
    assert second["planned_at"] == "2026-03-10T12:00:00Z"
