"""Waiting for a run: what is reported, and when it ends. Ledger and dead letters are in memory."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

import pytest

from cli import run_wait
from cli.run_wait import (
    NewDeadLetters,
    RefusedError,
    RunEnd,
    UnfinishedProperty,
    describe_end,
    exit_code,
    halts_of_run,
    wait_until_finished,
    wait_until_planned,
)
from pipeline.clock import now
from pipeline.contracts.halts import Halts
from pipeline.contracts.messages import Control
from pipeline.contracts.resources import RunProgress
from pipeline.ledger import runs
from pipeline.postgres import Connection
from support.examples import NOW, a_run

ACME, OTHER = ("acme", "sc-domain:a.com"), ("other", "sc-domain:b.com")
CONN = cast("Connection", None)


def a_halt(scope: str, **changes: Any) -> Control:
    fields = {"scope": scope, "state": "halted", "reason": "too many calls", "actor": "ann", "at": NOW, **changes}
    return Control(**fields)


def halts_of(*controls: Control) -> Halts:
    halts = Halts()
    for control in controls:
        halts.apply(control)
    return halts


class Ledger:
    """A run whose pages are these, one poll after the other; the last one stays. One without pages is not planned."""

    def __init__(self, *pages: dict[str, int] | None, tenants: Sequence[tuple[str, str]] = (ACME,)) -> None:
        self.pages = list(pages)
        self.tenants = tenants

    async def progress(self, _: Connection, run: str) -> RunProgress | None:
        pages = self.pages.pop(0) if len(self.pages) > 1 else self.pages[0]
        if pages is None:
            return None
        return a_run(pages, run_id=run) if pages else a_run(pages, run_id=run, planned_at=None)

    async def unfinished_tenants(self, _: Connection, __: str) -> Sequence[tuple[str, str]]:
        return self.tenants

    async def has_unfinished_pages(self, *_: object) -> bool:
        return False

    async def wait_for_change(self, *_: object) -> None:
        """Any time may pass."""

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(runs, "progress", self.progress)
        monkeypatch.setattr(runs, "unfinished_tenants", self.unfinished_tenants)
        monkeypatch.setattr(runs, "has_unfinished_pages", self.has_unfinished_pages)
        monkeypatch.setattr(run_wait, "wait_for_change", self.wait_for_change)
        monkeypatch.setattr(run_wait, "QUIET_S", 0.0)


@pytest.mark.parametrize(
    ("halted", "tenants", "holding"),
    [
        (["all"], [ACME, OTHER], ["all"]),
        (["credential:acme"], [ACME], ["credential:acme"]),
        (["credential:acme"], [ACME, OTHER], []),
        (
            ["credential:acme", "property:sc-domain:b.com"],
            [ACME, OTHER],
            ["credential:acme", "property:sc-domain:b.com"],
        ),
        (["run:r"], [ACME], ["run:r"]),
        (["project:p"], [ACME], ["project:p"]),
        (["project:p"], [ACME, OTHER], []),
        (["run:other"], [ACME], []),
        ([], [ACME], []),
    ],
)
def test_halts_hold_a_run_when_none_of_its_pages_can_be_fetched(
    halted: list[str], tenants: list[tuple[str, str]], holding: list[str]
) -> None:
    projects = {"acme": "p"}
    held = [UnfinishedProperty(url, credential, projects.get(credential, "q")) for credential, url in tenants]
    found = halts_of_run("r", held, halts_of(*map(a_halt, halted)), NOW)
    assert [halt.scope for halt in found] == holding


async def test_a_run_ends_when_every_page_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    Ledger({"pending": 2}, {"applied": 1, "published": 1}, {"applied": 1, "dead": 1}).install(monkeypatch)
    shown: list[tuple[str, int, int]] = []
    end = await wait_until_finished(CONN, "r", Halts(), lambda *progress: shown.append(progress))
    assert [item[1:] for item in shown] == [(0, 2), (1, 2), (2, 2)]
    assert (end.progress.pages, end.halts, exit_code(end)) == ({"applied": 1, "dead": 1}, (), 1)
    assert "dead-letters list" in describe_end(end)


class SlowLedger(Ledger):
    """A run that finishes at a time, on a server that takes four seconds to count its pages."""

    def __init__(self, finished_at: float) -> None:
        super().__init__()
        self.time = 0.0
        self.finished_at = finished_at
        self.counts = 0

    def monotonic(self) -> float:
        return self.time

    async def progress(self, _: Connection, run: str) -> RunProgress | None:
        state = "applied" if self.time >= self.finished_at else "pending"
        self.time += 4.0
        self.counts += 1
        return a_run({state: 1}, run_id=run)

    async def has_unfinished_pages(self, *_: object) -> bool:
        return self.time < self.finished_at

    async def wait_for_change(self, *_: object) -> None:
        self.time += 0.5


@pytest.mark.parametrize("finished_at", [1.0, 4.5, 11.0, 19.9, 20.0, 26.0])
async def test_the_end_of_a_run_is_noticed_while_the_command_rests(
    monkeypatch: pytest.MonkeyPatch, finished_at: float
) -> None:
    ledger = SlowLedger(finished_at)
    ledger.install(monkeypatch)
    monkeypatch.setattr(run_wait, "monotonic", ledger.monotonic)
    await wait_until_finished(CONN, "r", Halts(), lambda *_: None)
    assert ledger.time <= finished_at + 4.0 + 0.5 + 4.0  # a count in progress, a wait, and the last count
    assert ledger.counts <= 3  # and rests in between


async def test_a_run_ends_with_the_halts_that_hold_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    Ledger({"applied": 1, "pending": 1}).install(monkeypatch)
    halt = a_halt("credential:acme")
    end = await wait_until_finished(CONN, "r", halts_of(halt), lambda *_: None)
    assert (end.halts, exit_code(end)) == ((halt,), 3)
    text = describe_end(end)
    assert "credential:acme is halted without an end, by ann since 2026-03-10T12:00:00Z: too many calls" in text
    assert "`gsc-stream resume credential:acme`" in text


async def test_a_halt_that_ends_soon_is_reported_and_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Ledger({"pending": 1}, {"pending": 1}, {"pending": 1}, {"applied": 1}).install(monkeypatch)
    halts = halts_of(a_halt("credential:acme", until=now() + timedelta(minutes=15)))
    end = await wait_until_finished(CONN, "r", halts, lambda *_: None)
    assert exit_code(end) == 0
    assert capsys.readouterr().err.count("credential:acme is halted until ") == 1


class Refusals:
    """The dead letters that a request may become."""

    def __init__(self, reason: str | None) -> None:
        self.reason = reason

    async def reason_of(self, _: Any) -> str | None:
        return self.reason


async def test_a_request_that_is_not_planned_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Ledger(None, None, None, {"pending": 1}).install(monkeypatch)
    monkeypatch.setattr(run_wait, "UNPLANNED_S", -1.0)
    await wait_until_planned(CONN, "r", ("t", 0, 0), cast("NewDeadLetters", Refusals(None)))
    assert capsys.readouterr().err == "run r is not planned yet: is a producer running and ready?\n"


async def test_an_accepted_request_that_is_not_planned_is_reported_as_such(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Ledger({}, {"pending": 1}).install(monkeypatch)
    monkeypatch.setattr(run_wait, "UNPLANNED_S", -1.0)
    await wait_until_planned(CONN, "r", ("t", 0, 0), cast("NewDeadLetters", Refusals(None)))
    assert capsys.readouterr().err == "run r is not planned yet: a producer adds its pages\n"


async def test_a_request_that_the_producer_refuses_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    Ledger(None).install(monkeypatch)
    with pytest.raises(RefusedError, match="no such property"):
        await wait_until_planned(CONN, "r", ("t", 0, 0), cast("NewDeadLetters", Refusals("no such property")))


def test_a_run_without_pages_is_done() -> None:
    end = RunEnd(a_run({}, rows=0))
    assert (describe_end(end), exit_code(end)) == ("pages: none; rows: 0", 0)
