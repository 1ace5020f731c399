"""The status of the pipeline for people: first what is late, and why. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.console import ConsoleDimensions, Group, RenderableType
from rich.text import Text

from cli.output import build_table
from cli.text import counts_text, duration_text, plain
from pipeline.contracts.resources import CredentialStatus, PartitionReport, PropertyStatus, StatusReport

FEW = 12
"""At most this many properties are listed without being asked for."""
SUMMARY_LINES = 5
FEWEST_ROWS = 3
LINES_OF_TABLE = 3
"""Of its title, its header, and how many rows are left out."""
REASON = "waits because"
"""The column that is shortened on a narrow terminal. The summary has the reasons in full."""


class Details(NamedTuple):
    """What to show besides the summary."""

    properties: bool = False
    partitions: bool = False


def render_status(report: StatusReport, size: ConsoleDimensions, details: Details) -> Sequence[RenderableType]:
    """Return the status for a terminal of a size: a table that does not fit ends with how many rows are left out."""
    parts: list[RenderableType] = [
        Text(line, style=_style(number, report), no_wrap=True, overflow="ellipsis")
        for number, line in enumerate(summary(report))
    ]
    tables = [_credentials]
    if details.properties or len(report.properties) <= FEW:
        tables.append(_properties)
    if details.partitions:
        tables.append(_partitions)
    rows = max(FEWEST_ROWS, (size.height - SUMMARY_LINES - 2) // len(tables) - LINES_OF_TABLE)
    parts += [table(report, size.width, rows) for table in tables]
    unchanged = f" ({report.unchanged_pages:,} unchanged)" if report.unchanged_pages else ""
    parts.append(Text(f"pages: {counts_text(report.pages)}{unchanged}; days: {counts_text(report.days)}"))
    return parts


def summary(report: StatusReport) -> list[str]:
    """Return at most SUMMARY_LINES lines: whether all is well, what is late and why, and the services."""
    late = causes(report)
    unfinished = sum(item.unfinished for item in report.credentials)
    held = [item for item in report.credentials if item.unfinished and item.waits_for]
    lines = [_headline(unfinished, len(held), len(report.credentials), late)]
    lines += late[: SUMMARY_LINES - 2]
    if len(late) > SUMMARY_LINES - 2:
        lines[-1] += f" (and {len(late) - (SUMMARY_LINES - 2)} more reasons)"
    return [*lines, _services(report)]


def _headline(unfinished: int, held: int, credentials: int, late: Sequence[str]) -> str:
    if not unfinished:
        return "Late: no page is pending, but" if late else "All is well: nothing is pending."
    if not late:
        return f"All is well: {unfinished:,} pages are in progress."
    waiting = f"; {held} of {credentials} credentials wait" if held else ""
    return f"Late: {unfinished:,} pages are unfinished{waiting}, because"


def causes(report: StatusReport) -> list[str]:
    """Return why anything is late, what holds most pages first; credentials with the same reason are one cause."""
    missing = [
        f"no {item.service} is running: {item.lag:,} messages wait" for item in report.services if not item.processes
    ]
    if not report.has_leader and all(item.processes for item in report.services):
        missing.append("no producer holds the leader's lock, so none publishes pages")
    groups: dict[str, list[CredentialStatus]] = {}
    for item in report.credentials:
        if item.unfinished and item.waits_for:
            groups.setdefault(item.reason, []).append(item)
    ordered = sorted(groups.values(), key=lambda group: -sum(item.unfinished for item in group))
    return [*missing, *map(_cause, ordered), *_halted_properties(report)]


def _cause(credentials: Sequence[CredentialStatus]) -> str:
    group = sorted(credentials, key=lambda item: -item.unfinished)
    first, names = group[0], _some([item.credential for item in group])
    pages = sum(item.unfinished for item in group)
    until = f", until {plain(first.until)}" if first.until else ""
    day = min((item.newest_complete_day for item in group if item.newest_complete_day), default=None)
    since = f"; complete up to {day}" if day else ""
    return f"{names}: {pages:,} pages: {first.reason}{until}{since}"


def _halted_properties(report: StatusReport) -> list[str]:
    """Return a line for the halted properties of credentials that do not wait themselves."""
    waiting = {item.credential for item in report.credentials if item.waits_for}
    halted = [item for item in report.properties if item.unfinished and item.reason and item.credential not in waiting]
    reasons = Counter(item.reason for item in halted)
    return [
        f"{_some([item.property for item in halted if item.reason == reason])}: {reason}"
        for reason, _ in reasons.most_common()
    ]


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _services(report: StatusReport) -> str:
    running = ", ".join(f"{item.processes} {item.service}" for item in report.services)
    lags = ", ".join(f"{item.lag:,} for {item.service}" for item in report.services)
    planning = f"; {len(report.planning)} runs are being planned" if report.planning else ""
    return f"running: {running}; messages that wait: {lags}{planning}"


def _style(number: int, report: StatusReport) -> str:
    if number:
        return ""
    return "bold red" if causes(report) else "bold green"


def _credentials(report: StatusReport, width: int, rows: int) -> RenderableType:
    """Return a table of the credentials, those that are behind first."""
    ordered = sorted(report.credentials, key=lambda item: (not item.waits_for, -item.unfinished, item.credential))
    columns = ("credential", "complete to", "pages", "time left", REASON)
    cells = [
        (item.credential, item.newest_complete_day, item.unfinished, _time_left(item), _wait(item))
        for item in ordered[:rows]
    ]
    table = build_table("Credentials", columns, cells, empty="There are no credentials yet.", width=width, cut=REASON)
    return Group(table, *_left_out(len(ordered) - rows, "credentials"))


def _wait(item: CredentialStatus | PropertyStatus | PartitionReport) -> str:
    """Return until when and why something waits; the end comes first, since the text may be shortened."""
    return f"until {plain(item.until)}: {item.reason}" if item.until else item.reason


def _time_left(item: CredentialStatus) -> str:
    if not item.unfinished:
        return ""
    return "unknown" if item.eta_s is None else f"at least {duration_text(item.eta_s)}"


def _properties(report: StatusReport, width: int, rows: int) -> RenderableType:
    """Return a table of the properties, those that wait first."""
    ordered = sorted(report.properties, key=_urgency)
    columns = ("property", "credential", "complete to", "pages", REASON)
    cells = [
        (item.property, item.credential, item.newest_complete_day, item.unfinished, _wait(item))
        for item in ordered[:rows]
    ]
    table = build_table("Properties", columns, cells, empty="There are no properties yet.", width=width, cut=REASON)
    return Group(table, *_left_out(len(ordered) - rows, "properties"))


def _urgency(item: PropertyStatus) -> tuple[object, ...]:
    return not (item.unfinished and item.reason), -item.unfinished, plain(item.newest_complete_day), item.property


def _left_out(count: int, what: str) -> Iterable[RenderableType]:
    return [Text(f"... and {count:,} {what} more; --json lists them all", style="dim")] if count > 0 else []


def _partitions(report: StatusReport, width: int, rows: int) -> RenderableType:
    columns = ("partition", "state", "fetcher lag", "sink lag", REASON)
    cells = [(p.partition, p.state, p.lag, p.sink_lag, _wait(p)) for p in report.partitions[:rows]]
    table = build_table("Partitions", columns, cells, width=width, cut=REASON)
    return Group(table, *_left_out(len(report.partitions) - rows, "partitions"))
