"""`gsc-stream dead-letters list | show | redrive`: messages that could not be processed."""

import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import click

from cli.context import LedgerSettings, fail, read_environment, run
from cli.groups import Group
from cli.options import json_option, moment
from cli.output import print_json, print_table
from maintenance.redrive import DecodedDeadLetter, count_actions, decode_dead_letter
from maintenance.redrive import redrive as redrive_letters
from pipeline.contracts.text import utc_text
from pipeline.contracts.topics import DEAD_LETTERS
from pipeline.control import read_halts
from pipeline.dead_letters import read_dead_letter
from pipeline.ledger import pages
from pipeline.postgres import MAINTENANCE, connection
from pipeline.publisher import open_publisher
from pipeline.startup_checks import require_schema, require_topics
from pipeline.topic_reader import OffsetRange, open_topic_reader

F = TypeVar("F", bound=Callable[..., Any])
_DONE = (
    "{dead_letters} dead letters: {pending} pages are pending again, {forwarded} messages were published again,"
    " {skipped} were skipped."
)
_WOULD = (
    "{dead_letters} dead letters: {pending} pages would be pending again, {forwarded} messages published again,"
    " {skipped} skipped. Nothing has changed."
)
_COLUMNS = ("position", "reason", "service", "source", "first_seen", "property", "page", "error")


def _filters(command: F) -> F:
    for option in (
        click.option("--since", callback=moment, help="Published since then, an ISO 8601 time with a UTC offset."),
        click.option("--property", "property_", help="Only dead letters about this property."),
        click.option("--service", help="Only dead letters of this service."),
        click.option("--reason", help="Only dead letters with this reason."),
    ):
        command = option(command)
    return command


@dataclasses.dataclass(frozen=True)
class Filter:
    """Which dead letters to use; None: any."""

    reason: str | None = None
    service: str | None = None
    property: str | None = None
    since: datetime | None = None

    def matches(self, dead_letter: DecodedDeadLetter) -> bool:
        """Return whether the dead letter is selected."""
        return (
            self.reason in (None, dead_letter.stored.reason)
            and self.service in (None, dead_letter.stored.service)
            and (
                self.property is None or (dead_letter.batch is not None and dead_letter.batch.property == self.property)
            )
        )


@click.group("dead-letters", cls=Group)
def dead_letters() -> None:
    """List messages that could not be processed, and process them again.

    \b
    Examples:
      gsc-stream dead-letters list --reason bad_request
      gsc-stream dead-letters show 0:17
      gsc-stream dead-letters redrive --property sc-domain:example.com
    """


@dead_letters.command("list")
@_filters
@json_option
def list_(
    reason: str | None, service: str | None, property_: str | None, since: datetime | None, as_json: bool
) -> None:
    """List dead letters: position, reason, time, and the current state of the page."""
    settings = read_environment(LedgerSettings)
    dead_letters, states = run(_read(settings, Filter(reason, service, property_, since)))
    lines = [_line(dead_letter, states) for dead_letter in dead_letters]
    if as_json:
        print_json(lines)
        return
    rows = [[line[name] for name in _COLUMNS] for line in lines]
    print_table(f"Dead letters: {len(lines)}", _COLUMNS, rows, empty="There are no dead letters.")


@dead_letters.command()
@click.argument("position")
@json_option
def show(position: str, as_json: bool) -> None:
    """Show one dead letter with its value. POSITION is PARTITION:OFFSET, as printed by `list`."""
    settings = read_environment(LedgerSettings)
    partition, _, offset = position.partition(":")
    if not (partition.isdecimal() and offset.isdecimal()):
        fail(f"POSITION: {position!r} is not PARTITION:OFFSET")
    dead_letters, states = run(_read(settings, Filter(), (int(partition), int(offset))))
    if not dead_letters:
        fail(f"POSITION: there is no dead letter at {position}")
    stored = dead_letters[0].stored
    value = (stored.record.value or b"").decode("utf-8", "backslashreplace")
    fields = {**_line(dead_letters[0], states), "attempts": stored.attempts, "value": value}
    if as_json:
        print_json(fields)
    else:
        click.echo("\n".join(f"{name}: {'' if text is None else text}" for name, text in fields.items()))


@dead_letters.command()
@_filters
@click.option("--all", "all_", is_flag=True, help="Every dead letter; required without a filter.")
@click.option(
    "--rate",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0, 10_000, min_open=True),
    help="Dead letters per second.",
)
@click.option("--dry-run", is_flag=True, help="Only count.")
@json_option
def redrive(all_: bool, rate: float, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Process dead letters again.

    Those whose page is no longer dead, and those that are truncated or of an unknown source, are skipped.
    """
    settings = read_environment(LedgerSettings)
    selected = Filter(options["reason"], options["service"], options["property_"], options["since"])
    if not all_ and selected == Filter():
        fail("select dead letters with --reason, --service, --property or --since, or use --all")
    counts = run(_redrive(settings, selected, rate, dry_run))
    if as_json:
        print_json(counts)
    else:
        click.echo(_summary(counts))


def _summary(counts: Mapping[str, int]) -> str:
    numbers = {name: counts[name] for name in ("dead_letters", "pending", "forwarded", "skipped")}
    text = (_WOULD if counts.get("dry_run") else _DONE).format(**numbers)
    if counts["halted"]:
        text += f"\n{counts['halted']} of the pages wait for the end of a halt; `gsc-stream halts` lists the halts."
    return text


async def _redrive(settings: LedgerSettings, selected: Filter, rate: float, dry_run: bool) -> dict[str, Any]:
    dead_letters, states = await _read(settings, selected)
    if dry_run:
        halts = await read_halts(settings.kafka, settings.topic_prefix)
        counts = count_actions(dead_letters, states, halts)
        return {"dry_run": True, "dead_letters": len(dead_letters), **dataclasses.asdict(counts)}
    async with (
        open_publisher(settings.kafka, "gsc-stream") as publisher,
        connection(settings.postgres_dsn.get_secret_value(), application="gsc-stream", limits=MAINTENANCE) as conn,
    ):
        halts = await read_halts(settings.kafka, settings.topic_prefix)
        counts = await redrive_letters(dead_letters, conn, publisher, halts, rate)
    return {"dead_letters": len(dead_letters), **dataclasses.asdict(counts)}


async def _read(
    settings: LedgerSettings, selected: Filter, position: tuple[int, int] | None = None
) -> tuple[list[DecodedDeadLetter], Mapping[str, pages.State]]:
    """Return the dead letters, the oldest first, and the states of their pages."""
    await require_topics(settings)
    await require_schema(settings, "gsc-stream")
    dead_letters = sorted(
        [dead_letter async for dead_letter in _letters(settings, selected, position)],
        key=lambda dead_letter: dead_letter.stored.record.timestamp_ms,
    )
    ids = [dead_letter.batch.batch_id for dead_letter in dead_letters if dead_letter.batch]
    dsn = settings.postgres_dsn.get_secret_value()
    async with connection(dsn, application="gsc-stream", limits=MAINTENANCE) as conn:
        return dead_letters, await pages.states(conn, ids)


async def _letters(
    settings: LedgerSettings, selected: Filter, position: tuple[int, int] | None
) -> AsyncIterator[DecodedDeadLetter]:
    topic = DEAD_LETTERS.full_name(settings.topic_prefix)
    async with open_topic_reader(settings.kafka, settings.topic_prefix, topic) as reader:
        ranges = await (reader.available() if selected.since is None else reader.between(selected.since, None))
        if position is not None:
            partition, offset = position
            exists = partition in ranges and ranges[partition].start <= offset < ranges[partition].end
            ranges = {partition: OffsetRange(offset, offset + 1)} if exists else {}
        async for records in reader.records(ranges):
            for record in records:
                if selected.matches(dead_letter := decode_dead_letter(read_dead_letter(record))):
                    yield dead_letter


def _line(dead_letter: DecodedDeadLetter, states: Mapping[str, str]) -> dict[str, Any]:
    stored, batch = dead_letter.stored, dead_letter.batch
    source = stored.source
    return {
        "position": f"{stored.record.partition}:{stored.record.offset}",
        "reason": stored.reason,
        "service": stored.service,
        "source": f"{source[0]}:{source[1]}:{source[2]}" if source else None,
        "first_seen": utc_text(stored.first_seen),
        "property": batch.property if batch else None,
        "page": states.get(batch.batch_id) if batch else None,
        "error": stored.error,
    }
