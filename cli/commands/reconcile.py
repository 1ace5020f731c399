"""`gsc-stream reconcile`: compare plan, ledger, table, and Google's totals."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import click

from cli.context import SyncSettings, fail, load_catalog, read_environment, run
from cli.ledger import open_ledger
from cli.options import day, json_option
from cli.output import print_json, print_table
from cli.progress_bar import progress_bar
from fetcher.settings import FetcherSettings
from maintenance.reconcile import (
    KINDS,
    Day,
    Finding,
    FindingRange,
    RefetchRequest,
    finding_ranges,
    findings_of,
    publish_requests,
    read_days,
    refetch_requests,
)
from maintenance.totals import compare_totals, google_totals, sample_series
from pipeline.catalog import Catalog
from pipeline.clock import now
from pipeline.pacific import pacific_date
from pipeline.postgres import MAINTENANCE
from pipeline.publisher import open_publisher
from pipeline.startup_checks import require_topics
from producer.planner import HISTORY_DAYS


@click.command()
@click.option("--start", callback=day, help="First day, YYYY-MM-DD.  [default: as far back as Google's data]")
@click.option("--end", callback=day, help="Last day.  [default: today]")
@click.option(
    "--sample",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Number of properties whose totals are compared with the API's own.",
)
@click.option(
    "--tolerance", default=0.01, show_default=True, type=click.FloatRange(0), help="Share by which totals may differ."
)
@click.option(
    "--ignore",
    multiple=True,
    type=click.Choice(list(KINDS)),
    help="Neither report nor repair findings of this kind. Can be repeated.",
)
@click.option("--repair", is_flag=True, help="Request the days that a new fetch can repair.")
@json_option
def reconcile(start: date | None, end: date | None, repair: bool, as_json: bool, **options: Any) -> None:
    """Compare plan, ledger and table, and a sample with Google. Exit 1 when there are findings.

    \b
    Example: gsc-stream reconcile --start 2026-01-01 --sample 20 --repair
    """
    settings = read_environment(SyncSettings)
    catalog = load_catalog(settings)
    today = pacific_date(now())
    first, last = start or today - timedelta(days=HISTORY_DAYS), end or today
    if last < first:
        fail(f"--end: {last} is before --start {first}")
    findings, days = run(_findings(settings, catalog, (first, last), options["sample"], options["tolerance"]))
    findings = [finding for finding in findings if finding.kind not in options["ignore"]]
    requests = refetch_requests(findings) if repair else []
    run(_send(settings, requests))
    if as_json:
        found = {
            "findings": [item._asdict() for item in findings],
            "requested": [item._asdict() for item in requests],
        }
        print_json({"days": days, **found})  # a finding for each day
    else:
        _print_findings(days, findings, requests)
    raise SystemExit(1 if findings else 0)


def _print_findings(days: int, findings: Sequence[Finding], requests: Sequence[RefetchRequest]) -> None:
    ranges = finding_ranges(findings)
    nothing = f"{days} days of series were compared: nothing is wrong."
    print_table(f"{days} days of series, findings: {len(findings)}", FindingRange._fields, ranges, empty=nothing)
    for kind in sorted({finding.kind for finding in findings}):
        click.echo(f"{kind}: {KINDS[kind]}")
    for request in requests:
        click.echo(f"requested again: {request.property} {request.report} {request.start} to {request.end}")


async def _findings(
    settings: SyncSettings, catalog: Catalog, period: tuple[date, date], sample: int, tolerance: float
) -> tuple[list[Finding], int]:
    async with open_ledger(settings, MAINTENANCE) as conn:
        days = await read_days(conn, *period)
    findings = [finding for item in days for finding in findings_of(item, now())]
    if sample:
        findings += await _compare_totals(catalog, days, sample, tolerance)
    return findings, len(days)


async def _compare_totals(catalog: Catalog, days: Sequence[Day], sample: int, tolerance: float) -> list[Finding]:
    settings = read_environment(FetcherSettings)
    async with google_totals(settings, catalog) as read:
        with progress_bar("reading Google's totals") as bar:
            return await compare_totals(sample_series(catalog, sample), days, tolerance, read, bar)


async def _send(settings: SyncSettings, requests: Sequence[RefetchRequest]) -> None:
    if not requests:
        return
    await require_topics(settings)
    async with open_publisher(settings.kafka, "gsc-stream") as publisher:
        await publish_requests(publisher, settings.topic_prefix, requests, now())
