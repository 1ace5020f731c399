"""`gsc-stream demo` and `gsc-stream up`: the whole pipeline on servers of its own."""

import asyncio
import signal
import sys
from pathlib import Path
from threading import Event
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from cli.output import environment, fail, print_json, run
from lab.choosing import LabChoice, running_servers
from lab.demo import Snapshot, Summary, running_demo, synchronize
from lab.errors import LabError
from lab.running import Setup, prepare, running_services
from lab.scenario import Scenario
from pipeline.catalog import CatalogError, read_catalog
from pipeline.errors import PipelineError

LIMIT_PER_MINUTE = 960
PLAIN_EVERY_S = 5.0

_kafka = click.option("--kafka", help="A Kafka that runs already, HOST:PORT.  [default: start one]")
_postgres = click.option("--postgres", help="A PostgreSQL that runs already, as a DSN.  [default: start one]")


@click.command()
@click.option("--days", default=150, show_default=True, type=click.IntRange(1, 450))
@click.option("--properties", default=2, show_default=True, type=click.IntRange(1, 50))
@click.option(
    "--rows", default=1500, show_default=True, type=click.IntRange(0, 50_000), help="A day, of the widest report."
)
@click.option("--seed", default=1, show_default=True, help="Of the simulated world.")
@click.option("--latency", default=0.2, show_default=True, type=click.FloatRange(0, 60), help="Of a call, in seconds.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep data and logs in this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON, as the last line.")
@_kafka
@_postgres
def demo(as_json: bool, keep: Path | None, kafka: str | None, postgres: str | None, **options: Any) -> None:
    """Sync simulated properties into a real PostgreSQL through a real Kafka, and check every row."""
    _end_on_sigterm()
    scenario = Scenario(
        days=options["days"],
        properties=options["properties"],
        rows=options["rows"],
        seed=options["seed"],
        latency_s=options["latency"],
    )
    try:
        with (
            running_demo(scenario, _choice(kafka, postgres, keep), _progress) as (setup, google, services),
            _Display(scenario) as display,
        ):
            summary = asyncio.run(synchronize(setup, google, services, scenario.days, display.show))
    except (LabError, PipelineError) as error:
        fail(str(error))
    _tell(summary)
    if as_json:
        print_json(
            {
                "rows": summary.rows,
                "calls": summary.calls,
                "seconds": round(summary.seconds, 2),
                "peak_calls_per_minute": summary.peak_calls_per_minute,
                "equal_to_source": summary.equal_to_source,
            }
        )
    raise SystemExit(0 if summary.equal_to_source else 1)


@click.command()
@click.option("--catalog", required=True, type=click.Path(path_type=Path), help="Credentials, properties and reports.")
@click.option("--folder", default=Path(".gsc-stream"), show_default=True, type=click.Path(path_type=Path), help="Data.")
@click.option("--api-root", default="https://searchconsole.googleapis.com", show_default=True)
@_kafka
@_postgres
def up(catalog: Path, folder: Path, api_root: str, kafka: str | None, postgres: str | None) -> None:
    """Run everything here with real credentials, until Ctrl-C; the data stays in the folder."""
    _end_on_sigterm()
    try:
        read_catalog(catalog)
    except CatalogError as error:
        fail(str(error))
    folder = folder.absolute()
    try:
        with running_servers(_choice(kafka, postgres, folder), _progress) as servers:
            setup = Setup(servers, api_root, catalog.absolute(), folder)
            run(prepare(setup))
            with running_services(setup) as services:
                click.echo("The pipeline runs. In another terminal:")
                for name, value in setup.environment.items():
                    if name.startswith(("GSC_KAFKA", "GSC_POSTGRES", "GSC_CATALOG", "GSC_API")):
                        click.echo(f"  export {name}='{value}'")
                click.echo("  gsc-stream check; gsc-stream sync --all --start YYYY-MM-DD --end YYYY-MM-DD --wait")
                click.echo(f"Logs: {folder}. Ctrl-C ends it.")
                while not (ended := services.ended()):
                    Event().wait(1.0)
                fail("\n".join(ended), 1)
    except LabError as error:
        fail(str(error))
    except KeyboardInterrupt:
        click.echo("stopped")


def _choice(kafka: str | None, postgres: str | None, folder: Path | None) -> LabChoice:
    mode = environment("GSC_LAB") or "embedded"
    if mode not in ("embedded", "docker"):
        fail(f"GSC_LAB: embedded or docker, got {mode!r}")
    return LabChoice(kafka, postgres, folder, docker=mode == "docker")


def _end_on_sigterm() -> None:
    """SIGTERM like Ctrl-C: the blocks end what they started."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def _progress(line: str) -> None:
    click.echo(line, err=True)


class _Display:
    """Live on a terminal, a line now and then elsewhere."""

    def __init__(self, scenario: Scenario) -> None:
        self._limit = LIMIT_PER_MINUTE * scenario.properties
        self._live = Live(console=Console(stderr=True)) if sys.stderr.isatty() else None
        self._told = -PLAIN_EVERY_S

    def __enter__(self) -> "_Display":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, snapshot: Snapshot) -> None:
        """Show how far the sync is."""
        eta = "?" if snapshot.eta_s is None else f"{snapshot.eta_s:.0f} s"
        cells = {
            "rows": f"{snapshot.rows:,}",
            "pages": f"{snapshot.pages_applied}/{snapshot.pages_planned}",
            "calls in the last minute": f"{snapshot.calls_last_minute} of {self._limit} allowed",
            "lag": f"{snapshot.lag_batches} batches, {snapshot.lag_results} results",
            "time to go": eta,
        }
        if self._live:
            table = Table(*cells)
            table.add_row(*cells.values())
            self._live.update(table)
        elif snapshot.seconds - self._told >= PLAIN_EVERY_S:
            self._told = snapshot.seconds
            _progress(", ".join(f"{name}: {cell}" for name, cell in cells.items()))


def _tell(summary: Summary) -> None:
    _progress(f"{summary.rows:,} rows by {summary.calls} calls in {summary.seconds:.1f} s")
    for name, peak in sorted(summary.peaks.items()):
        _progress(f"  highest minute of {name}: {peak} calls, {LIMIT_PER_MINUTE} allowed")
    if summary.equal_to_source:
        _progress("the table is equal to the source, row by row")
    for item in summary.differences[:20]:
        _progress(f"DIFFERENT {' '.join(map(str, item[:4]))}: {item[4]} missing, {item[5]} unexpected, {item[6]} other")
