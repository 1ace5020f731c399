"""`gsc-stream dead-letters list | show | redrive`: what could not be processed, and why."""

import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import click

from cli.output import ANumber, LedgerSettings, a_moment, fail, json_option, print_json, print_table, run, settings
from maintenance.redrive import Letter, opened
from maintenance.redrive import redrive as tried_again
from pipeline.contracts.topics import DEAD_LETTERS
from pipeline.dead_letters import read_dead_letter
from pipeline.ledger import pages
from pipeline.postgres import connection
from pipeline.publisher import open_publisher
from pipeline.startup_checks import require_schema, require_topics
from pipeline.topic_reader import OffsetRange, open_topic_reader

F = TypeVar("F", bound=Callable[..., Any])
_SHOWN_CHARACTERS = 4000


def _filters(command: F) -> F:
    for option in (
        click.option("--since", callback=a_moment, help="StoredDeadLetter since, ISO 8601 with an offset."),
        click.option("--property", "property_", help="Only those about this property."),
        click.option("--service", help="Only those that this service buried."),
        click.option("--reason", help="Only those with this reason."),
    ):
        command = option(command)
    return command


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Which letters."""

    reason: str | None
    service: str | None
    property: str | None
    since: datetime | None

    def takes(self, letter: Letter) -> bool:
        """Whether the letter is among them."""
        return (
            self.reason in (None, letter.buried.reason)
            and self.service in (None, letter.buried.service)
            and (self.property is None or (letter.batch is not None and letter.batch.property == self.property))
        )


@click.group("dead-letters")
def dead_letters() -> None:
    """Look at messages that could not be processed, and try them again."""


@dead_letters.command("list")
@_filters
@json_option
def list_(
    reason: str | None, service: str | None, property_: str | None, since: datetime | None, as_json: bool
) -> None:
    """Where each lies, why it is there, since when, and the state of its page now."""
    wanted = settings(LedgerSettings)
    letters, states = run(_listed(wanted, Wanted(reason, service, property_, since)))
    lines = [_line(letter, states) for letter in letters]
    if as_json:
        print_json(lines)
        return
    shown = ("place", "reason", "service", "source", "first_seen", "property", "page", "error")
    print_table(
        f"Dead letters: {len(lines)}", shown, [[str(line[name] or "")[:80] for name in shown] for line in lines]
    )


@dead_letters.command()
@click.argument("place")
@json_option
def show(place: str, as_json: bool) -> None:
    """One letter, whole; PLACE is PARTITION:OFFSET, as `list` tells it."""
    wanted = settings(LedgerSettings)
    partition, _, offset = place.partition(":")
    if not (partition.isdecimal() and offset.isdecimal()):
        fail(f"PLACE: {place!r} is not PARTITION:OFFSET")
    found, states = run(_listed(wanted, Wanted(None, None, None, None), (int(partition), int(offset))))
    if not found:
        fail(f"PLACE: there is no letter at {place}")
    buried = found[0].buried
    value = (buried.record.value or b"").decode("utf-8", "backslashreplace")
    told = {**_line(found[0], states), "attempts": buried.attempts, "value": value}
    if as_json:
        print_json(told)
    else:
        print_table(f"Dead letter {place}", ("what", ""), [(k, str(v)[:_SHOWN_CHARACTERS]) for k, v in told.items()])


@dead_letters.command()
@_filters
@click.option("--all", "all_", is_flag=True, help="Without a filter, every letter.")
@click.option("--rate", default=10.0, show_default=True, type=ANumber(0, 10_000, min_open=True), help="A second.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@json_option
def redrive(all_: bool, rate: float, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Try letters again; those whose page is applied are skipped."""
    wanted = settings(LedgerSettings)
    chosen = Wanted(options["reason"], options["service"], options["property_"], options["since"])
    if not all_ and chosen == Wanted(None, None, None, None):
        fail("choose letters by --reason, --service, --property or --since, or say --all")
    told = run(_redriven(wanted, chosen, rate, dry_run))
    if as_json:
        print_json(told)
    else:
        click.echo(", ".join(f"{name}: {value}" for name, value in told.items()))


async def _redriven(wanted: LedgerSettings, chosen: Wanted, rate: float, dry_run: bool) -> dict[str, Any]:
    letters, states = await _listed(wanted, chosen)
    if dry_run:
        return {"dry_run": True, "letters": len(letters), "skipped": sum(_finished(item, states) for item in letters)}
    async with (
        open_publisher(wanted.kafka, "gsc-stream") as publisher,
        connection(wanted.postgres_dsn.get_secret_value(), application="gsc-stream") as conn,
    ):
        done = await tried_again(letters, conn, publisher, rate)
    return {"letters": len(letters), **dataclasses.asdict(done)}


async def _listed(
    wanted: LedgerSettings, chosen: Wanted, place: tuple[int, int] | None = None
) -> tuple[list[Letter], Mapping[str, str]]:
    """Letters, the oldest first, and the states of their pages."""
    await require_topics(wanted)
    await require_schema(wanted, "gsc-stream")
    letters = sorted(
        [letter async for letter in _letters(wanted, chosen, place)],
        key=lambda letter: letter.buried.record.timestamp_ms,
    )
    ids = [letter.batch.batch_id for letter in letters if letter.batch]
    async with connection(wanted.postgres_dsn.get_secret_value(), application="gsc-stream") as conn:
        return letters, await pages.states(conn, ids)


async def _letters(wanted: LedgerSettings, chosen: Wanted, place: tuple[int, int] | None) -> AsyncIterator[Letter]:
    topic = DEAD_LETTERS.full_name(wanted.topic_prefix)
    async with open_topic_reader(wanted.kafka, wanted.topic_prefix, topic) as reader:
        spans = await reader.available() if chosen.since is None else await reader.between(chosen.since, None)
        if place is not None:
            partition, offset = place
            held = partition in spans and spans[partition].start <= offset < spans[partition].end
            spans = {partition: OffsetRange(offset, offset + 1)} if held else {}
        async for records in reader.records(spans):
            for record in records:
                if chosen.takes(letter := opened(read_dead_letter(record))):
                    yield letter


def _line(letter: Letter, states: Mapping[str, str]) -> dict[str, Any]:
    buried, batch = letter.buried, letter.batch
    source = buried.source
    return {
        "place": f"{buried.record.partition}:{buried.record.offset}",
        "reason": buried.reason,
        "service": buried.service,
        "source": f"{source[0]}:{source[1]}:{source[2]}" if source else None,
        "first_seen": buried.first_seen.isoformat(timespec="seconds"),
        "property": batch.property if batch else None,
        "page": states.get(batch.batch_id) if batch else None,
        "error": buried.error,
    }


def _finished(letter: Letter, states: Mapping[str, str]) -> bool:
    return letter.batch is not None and states.get(letter.batch.batch_id, "dead") != "dead"
