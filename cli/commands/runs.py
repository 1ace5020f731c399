"""`gsc-stream runs`: the newest runs, or one, and how far they are."""

from collections.abc import Sequence

import click
from rich.console import ConsoleDimensions, RenderableType

from cli.context import read_environment, run
from cli.display import show
from cli.ledger import open_ledger
from cli.options import json_option
from cli.output import build_table
from cli.text import duration_text
from pipeline.contracts.resources import RunList, RunProgress
from pipeline.contracts.text import did_you_mean
from pipeline.errors import Invalid
from pipeline.ledger import runs as ledger
from pipeline.postgres import REPORT
from pipeline.process import EXIT_FAILED
from pipeline.settings import PostgresSettings

_COLUMNS = ("run", "state", "requested by", "accepted", "days", "pages", "rows", "time left")


@click.command()
@click.argument("run_id", required=False)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many runs to list.")
@click.option("--watch", is_flag=True, help="Repeat every two seconds: one run until it ends, a list until Ctrl-C.")
@json_option
def runs(run_id: str | None, limit: int, watch: bool, as_json: bool) -> None:
    """List the newest runs, or show RUN_ID: its pages by state, its rows, and the time left at its present speed.

    A run is a sync request that the producer has accepted. With `--watch`, one run ends with the exit code of `sync
    --wait`: 1 when some of its pages are dead.

    \b
    Examples:
      gsc-stream runs
      gsc-stream runs RUN_ID --watch
    """
    settings = read_environment(PostgresSettings)
    if run_id is None:
        show(lambda: run(_newest(settings, limit)), _render_list, as_json=as_json, watch=watch)
        return
    last = show(
        lambda: run(_one(settings, run_id)),
        _render_one,
        as_json=as_json,
        watch=watch,
        until=lambda it: it.state not in ("planning", "running"),
    )
    raise SystemExit(EXIT_FAILED if watch and last.pages.get("dead") else 0)


async def _newest(settings: PostgresSettings, limit: int) -> RunList:
    async with open_ledger(settings, REPORT) as conn:
        return RunList(await ledger.newest(conn, limit))


async def _one(settings: PostgresSettings, run_id: str) -> RunProgress:
    """Raises Invalid for an unknown run."""
    async with open_ledger(settings, REPORT) as conn:
        if progress := await ledger.progress(conn, run_id):
            return progress
        known = [item.run_id for item in await ledger.newest(conn, 1000)]
    nearest = did_you_mean(run_id, known) or "; `gsc-stream runs` lists the newest"
    raise Invalid(f"no run {run_id!r} in the ledger{nearest}", field="RUN_ID")


def _render_list(listed: RunList, size: ConsoleDimensions) -> Sequence[RenderableType]:
    rows = [_row(item) for item in listed.runs]
    return [
        build_table("Runs", _COLUMNS, rows, empty="There are no runs: nothing was requested yet.", width=size.width)
    ]


def _row(item: RunProgress) -> Sequence[object]:
    dead = f", {item.pages['dead']:,} dead" if item.pages.get("dead") else ""
    pages = f"{item.finished:,} of {item.total:,}{dead}"
    return item.run_id, item.state, item.requested_by, item.accepted_at, _days(item), pages, item.rows, _time_left(item)


def _days(item: RunProgress) -> str | None:
    return f"{item.start} to {item.end}" if item.start else None


def _render_one(item: RunProgress, size: ConsoleDimensions) -> Sequence[RenderableType]:
    rows = [
        ("state", item.state),
        ("request", item.request_id),
        ("requested by", item.requested_by),
        ("accepted", item.accepted_at),
        ("planned", item.planned_at),
        ("days", _days(item)),
        ("priority", item.priority),
        ("pages", item.pages),
        ("rows", item.rows),
        ("time left", _time_left(item)),
    ]
    return [build_table(f"Run {item.run_id}", ("", ""), rows, width=size.width)]


def _time_left(item: RunProgress) -> str:
    if item.state not in ("planning", "running"):
        return ""
    return "unknown: no page was finished in the last minute" if item.eta_s is None else duration_text(item.eta_s)
