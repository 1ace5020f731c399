"""`gsc-stream demo`: the whole pipeline against a simulated Google, with a check of every row."""

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from cli.local_servers import choose_servers, kafka_option, local_servers, postgres_option
from cli.output import log_progress, print_json
from lab.demo import Snapshot, Summary, running_demo, synchronize
from lab.embedded import Embedded
from lab.run_folder import export_lines
from lab.scenario import Scenario

LIMIT_PER_MINUTE = 960
LINE_EVERY_S = 5.0
STAY_POLL_S = 1.0


@click.command()
@click.option("--days", default=150, show_default=True, type=click.IntRange(1, 450), help="Days to sync.")
@click.option("--properties", default=2, show_default=True, type=click.IntRange(1, 50), help="Simulated properties.")
@click.option(
    "--rows",
    default=1500,
    show_default=True,
    type=click.IntRange(0, 50_000),
    help="Rows per day of the most detailed report.",
)
@click.option("--seed", default=1, show_default=True, help="Seed of the simulated data.")
@click.option(
    "--latency", default=0.2, show_default=True, type=click.FloatRange(0, 60), help="Latency of a call, in seconds."
)
@click.option("--stay", is_flag=True, help="Leave everything running after the comparison, until Ctrl-C.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep data and logs in this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON, as the last line.")
@kafka_option
@postgres_option
def demo(as_json: bool, stay: bool, keep: Path | None, kafka: str | None, postgres: str | None, **options: Any) -> None:
    """Sync simulated properties through a real Kafka into a real PostgreSQL, and check every row."""
    scenario = Scenario(
        days=options["days"],
        properties=options["properties"],
        rows=options["rows"],
        seed=options["seed"],
        latency_s=options["latency"],
    )
    servers = choose_servers(kafka, postgres, keep)
    with (
        local_servers(),
        running_demo(scenario, servers, log_progress) as embedded,
    ):
        with _Display(scenario) as display:
            summary = asyncio.run(synchronize(embedded, scenario.days, display.show))
        _print_summary(summary)
        if as_json:
            print_json(_fields(summary))
        if stay:
            _stay(embedded)
    raise SystemExit(0 if summary.equal_to_source else 1)


def _fields(summary: Summary) -> dict[str, object]:
    return {
        "rows": summary.rows,
        "calls": summary.calls,
        "seconds": round(summary.seconds, 2),
        "peak_calls_per_minute": summary.peak_calls_per_minute,
        "equal_to_source": summary.equal_to_source,
    }


def _stay(embedded: Embedded) -> None:
    """Print the addresses, and wait for Ctrl-C or SIGTERM."""
    log_progress("Everything stays, until Ctrl-C. To use it from another shell:")
    for line in export_lines(embedded.endpoints):
        log_progress(f"  {line}")
    with suppress(KeyboardInterrupt):
        while True:
            Event().wait(STAY_POLL_S)


class _Display:
    """Progress: a live table on a terminal, otherwise a line every few seconds."""

    def __init__(self, scenario: Scenario) -> None:
        self._limit = LIMIT_PER_MINUTE * scenario.properties
        self._live = Live(console=Console(stderr=True)) if sys.stderr.isatty() else None
        self._printed_at = -LINE_EVERY_S

    def __enter__(self) -> "_Display":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, snapshot: Snapshot) -> None:
        """Show the progress of the sync."""
        eta = "?" if snapshot.eta_s is None else f"{snapshot.eta_s:.0f} s"
        cells = {
            "rows": f"{snapshot.rows:,}",
            "pages": f"{snapshot.pages_finished}/{snapshot.pages_planned}",
            "calls in the last minute": f"{snapshot.calls_last_minute} of {self._limit} allowed",
            "lag": f"{snapshot.lag_batches} batches, {snapshot.lag_results} results",
            "time left": eta,
        }
        if self._live:
            table = Table(*cells)
            table.add_row(*cells.values())
            self._live.update(table)
        elif snapshot.seconds - self._printed_at >= LINE_EVERY_S:
            self._printed_at = snapshot.seconds
            log_progress(", ".join(f"{name}: {cell}" for name, cell in cells.items()))


def _print_summary(summary: Summary) -> None:
    log_progress(f"{summary.rows:,} rows by {summary.calls} calls in {summary.seconds:.1f} s")
    for name, peak in sorted(summary.peaks.items()):
        log_progress(f"  highest minute of {name}: {peak} calls, {LIMIT_PER_MINUTE} allowed")
    if summary.equal_to_source:
        log_progress("the table is equal to the source, row by row")
    for item in summary.differences[:20]:
        log_progress(
            f"DIFFERENT {' '.join(map(str, item[:4]))}: {item[4]} missing, {item[5]} unexpected, {item[6]} changed"
        )
