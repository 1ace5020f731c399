"""`gsc-stream demo`: the whole pipeline against a simulated Google, with a check of every row."""

import asyncio
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import click

from cli.local_servers import choose_servers, kafka_option, local_servers, postgres_option
from cli.output import log_progress, print_json
from cli.progress_bar import progress_bar
from lab.demo import LIMIT_PER_MINUTE, Summary, running_demo, synchronize
from lab.embedded import Embedded
from lab.run_folder import export_lines
from lab.scenario import Scenario

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
    """Sync simulated properties through a real Kafka into a real PostgreSQL, and check every row.

    \b
    Examples:
      gsc-stream demo
      gsc-stream demo --days 10 --properties 5 --stay
    """
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
        summary = asyncio.run(synchronize(embedded, scenario.days, progress_bar))
        _print_summary(summary)
        if as_json:
            print_json(_fields(summary))
        if stay:
            _stay(embedded)
    raise SystemExit(0 if summary.equal_to_source else 1)


def _fields(summary: Summary) -> dict[str, object]:
    return {
        "rows": summary.rows,
        "rows_fetched": summary.rows_fetched,
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


def _print_summary(summary: Summary) -> None:
    log_progress(f"{summary.rows_fetched:,} rows by {summary.calls} calls in {summary.seconds:.1f} s")
    if repeated := summary.rows_fetched - summary.rows:
        log_progress(f"{summary.rows:,} of them are different rows: {repeated} were listed by two pages of a day")
    for name, peak in sorted(summary.peaks.items()):
        log_progress(f"  highest minute of {name}: {peak} calls, {LIMIT_PER_MINUTE} allowed")
    if summary.equal_to_source:
        log_progress("the table is equal to the source, row by row")
    for item in summary.differences[:20]:
        log_progress(
            f"DIFFERENT {' '.join(map(str, item[:4]))}: {item[4]} missing, {item[5]} unexpected, {item[6]} changed"
        )
