"""Waiting for a run: until it is planned, and until its pages are finished or nothing but halted pages is left."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

import click

from cli.context import project_by_credential
from cli.text import counts_text
from lab.progress import ShowProgress
from pipeline.clock import monotonic, now
from pipeline.contracts.halts import Halts, credential_scopes
from pipeline.contracts.messages import DEFAULT_PROJECT, Control
from pipeline.contracts.resources import RunProgress
from pipeline.contracts.text import utc_text
from pipeline.dead_letters import read_dead_letter
from pipeline.errors import Invalid
from pipeline.ledger import runs
from pipeline.ledger.changes import wait_for_change
from pipeline.postgres import Connection
from pipeline.process import EXIT_FAILED, EXIT_HALTED
from pipeline.topic_reader import OffsetRange, OffsetRanges, TopicReader

POLL_EVERY_S = 0.5
"""The longest time between two looks at the ledger; a change of any page ends it."""
REST_RATIO = 4
"""Between two counts the command rests this many times as long as one took, unless the run finishes meanwhile: the
pages of a large run take a while to count, and on a busy server a long while."""
QUIET_S = 10.0
"""Halts are looked at when no page was finished for this long."""
UNPLANNED_S = 30.0
"""A producer plans a request within a second; after this time the command says what it waits for."""
SHORT_HALT = timedelta(minutes=30)
"""A halt that ends sooner is waited for."""

Source = tuple[str, int, int]
"""Topic, partition and offset of a message."""


class RefusedError(Exception):
    """The producer cannot plan the request."""


@dataclass(frozen=True)
class RunEnd:
    """The progress of a run, and the halts that hold all of its unfinished pages, if there are any."""

    progress: RunProgress
    halts: tuple[Control, ...] = ()


class NewDeadLetters:
    """Dead letters published from now on: the producer dead-letters a request that it cannot plan."""

    def __init__(self, reader: TopicReader, seen: OffsetRanges) -> None:
        self._reader = reader
        self._seen = seen

    async def reason_of(self, source: Source) -> str | None:
        """Return why the message was dead-lettered, or None when it was not."""
        available = await self._reader.available()
        new = {number: OffsetRange(self._seen[number].end, range_.end) for number, range_ in available.items()}
        self._seen = available
        async for records in self._reader.records(new):
            for dead_letter in map(read_dead_letter, records):
                if dead_letter.source == source:
                    return dead_letter.error
        return None


async def wait_until_planned(conn: Connection, run: str, source: Source, dead_letters: NewDeadLetters) -> None:
    """Wait until the ledger has the run with all its pages.

    Raises RefusedError when the producer has dead-lettered its request.
    """
    late_at = monotonic() + UNPLANNED_S
    while not (progress := await runs.progress(conn, run)) or not progress.planned_at:
        if reason := await dead_letters.reason_of(source):
            raise RefusedError(reason)
        if monotonic() > late_at:
            late_at = float("inf")
            waits_for = "a producer adds its pages" if progress else "is a producer running and ready?"
            click.echo(f"run {run} is not planned yet: {waits_for}", err=True)
        await wait_for_change(conn, POLL_EVERY_S)


@dataclass
class _Quiet:
    """For how long the number of finished pages has been the same."""

    done: int = -1
    since: float = field(default_factory=monotonic)

    def seconds(self, done: int) -> float:
        if done != self.done:
            self.done, self.since = done, monotonic()
        return monotonic() - self.since


async def wait_until_finished(conn: Connection, run: str, halts: Halts, show: ShowProgress) -> RunEnd:
    """Wait until every page is finished, or until halts without a near end hold those that are left.

    Raises Invalid when the ledger does not have the run.
    """
    quiet, reported, projects = _Quiet(), "", project_by_credential()
    while True:
        began = monotonic()
        progress = await runs.progress(conn, run)
        if progress is None:
            raise Invalid(f"no run {run!r} in the ledger")
        rest_s = REST_RATIO * (monotonic() - began)
        show(f"pages, {progress.rows:,} rows", progress.finished, progress.total)
        if progress.finished == progress.total:
            return RunEnd(progress)
        if halts.active(now()) and quiet.seconds(progress.finished) >= QUIET_S:
            tenants = [
                UnfinishedProperty(url, credential, projects.get(credential, DEFAULT_PROJECT))
                for credential, url in await runs.unfinished_tenants(conn, run)
            ]
            holding = halts_of_run(run, tenants, halts, now())
            if holding and all(_is_long(halt, now()) for halt in holding):
                return RunEnd(progress, holding)
            text = "\n".join(describe_halt(halt) for halt in holding)
            if text != reported:
                reported = text
                click.echo(text or "no halt holds the pages any more", err=True)
        await _rest(conn, run, rest_s)


async def _rest(conn: Connection, run: str, seconds: float) -> None:
    """Wait for a change after this time, or for the change that finishes the run, however early."""
    until = monotonic() + seconds
    await wait_for_change(conn, POLL_EVERY_S)
    while monotonic() < until and await runs.has_unfinished_pages(conn, run):
        await wait_for_change(conn, POLL_EVERY_S)


class UnfinishedProperty(NamedTuple):
    """A property with unfinished pages, its credential, and the Google Cloud project of that."""

    property: str
    credential: str
    project: str


def halts_of_run(run: str, tenants: Iterable[UnfinishedProperty], halts: Halts, at: datetime) -> tuple[Control, ...]:
    """Return the halts that hold all unfinished pages of a run, or none when a page is not halted. Pure."""
    holding = {}
    for tenant in tenants:
        shared = credential_scopes(tenant.credential, tenant.project)
        halt = halts.blocking((*shared, f"property:{tenant.property}", f"run:{run}"), at)
        if halt is None:
            return ()
        holding[halt.scope] = halt
    return tuple(holding.values())


def _is_long(halt: Control, at: datetime) -> bool:
    return halt.until is None or halt.until - at > SHORT_HALT


def describe_halt(halt: Control) -> str:
    """Return what is halted, why, and how it resumes, in a line."""
    until = f"until {utc_text(halt.until)}" if halt.until else "without an end"
    return (
        f"{halt.scope} is halted {until}, by {halt.actor} since {utc_text(halt.at)}: {halt.reason};"
        f" `gsc-stream resume {halt.scope}` ends the halt"
    )


def describe_end(end: RunEnd) -> str:
    """Return how a run ended, and what to do about pages without rows."""
    lines = [f"pages: {counts_text(end.progress.pages)}; rows: {end.progress.rows:,}"]
    if end.progress.pages.get("dead"):
        lines.append("`gsc-stream dead-letters list` says why pages are dead")
    if end.halts:
        lines.append("only halted pages are left; they are fetched when the halt ends:")
    return "\n".join([*lines, *map(describe_halt, end.halts)])


def exit_code(end: RunEnd) -> int:
    """Return the exit code of a command that waited for a run."""
    if end.halts:
        return EXIT_HALTED
    return EXIT_FAILED if end.progress.pages.get("dead") else 0
