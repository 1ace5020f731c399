"""`gsc-stream reconcile`: is everything there that was asked for, and is it what Google says?"""

import random
from collections.abc import AsyncIterator, Sequence
from datetime import date, timedelta
from typing import Any

import click

from cli.output import (
    ANumber,
    SyncSettings,
    a_day,
    catalog_of,
    fail,
    json_option,
    print_json,
    print_table,
    progress_bar,
    run,
    settings,
)
from fetcher.credentials import AccessTokens
from fetcher.search_console import SearchConsole
from fetcher.settings import FetcherSettings
from maintenance.reconcile import (
    KINDS,
    Day,
    Finding,
    RefetchRequest,
    differing_totals,
    findings_of,
    read_days,
    refetch_requests,
)
from pipeline.catalog import Catalog, Property
from pipeline.clock import now, pacific_date
from pipeline.contracts import codec
from pipeline.contracts.messages import SearchType
from pipeline.contracts.topics import SYNC_REQUESTS
from pipeline.postgres import connection
from pipeline.publisher import open_publisher
from pipeline.startup_checks import require_schema, require_topics
from producer.planner import HISTORY_DAYS
from producer.sync_request import build_request

_SUMS_ARE_TOTALS = frozenset({"date", "country", "device"})
"""Dimensions over which the rows add up to the day: queries are anonymized, pages count a click more than once."""


@click.command()
@click.option("--start", callback=a_day, help="First day.  [default: as far back as Google goes]")
@click.option("--end", callback=a_day, help="Last day.  [default: today]")
@click.option(
    "--sample",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Properties whose totals are compared with the API's own.",
)
@click.option(
    "--tolerance",
    default=0.01,
    show_default=True,
    type=ANumber(0),
    help="Share by which totals may differ.",
)
@click.option("--ignore", multiple=True, type=click.Choice(list(KINDS)), help="A kind of finding; may be given again.")
@click.option("--repair", is_flag=True, help="Ask for what is owed.")
@json_option
def reconcile(start: date | None, end: date | None, repair: bool, as_json: bool, **options: Any) -> None:
    """Compare plan, ledger and table, and a sample with Google; exit 1 when something is found."""
    wanted = settings(SyncSettings)
    catalog = catalog_of(wanted)
    today = pacific_date(now())
    first, last = start or today - timedelta(days=HISTORY_DAYS), end or today
    if last < first:
        fail(f"--end: {last} is before --start {first}")
    found, days = run(_findings(wanted, catalog, (first, last), options["sample"], options["tolerance"]))
    found = [finding for finding in found if finding.kind not in options["ignore"]]
    wishes = refetch_requests(found) if repair else []
    run(_ask(wanted, wishes))
    if as_json:
        told = {"findings": [item._asdict() for item in found], "asked_again": [wish._asdict() for wish in wishes]}
        print_json({"days": days, **told})
    else:
        print_table(f"{days} days of series, findings: {len(found)}", Finding._fields, found)
        for kind in sorted({finding.kind for finding in found}):
            click.echo(f"{kind}: {KINDS[kind]}")
        for wish in wishes:
            click.echo(f"asked for again: {wish.property} {wish.report} {wish.start} to {wish.end}")
    raise SystemExit(1 if found else 0)


async def _findings(
    wanted: SyncSettings, catalog: Catalog, span: tuple[date, date], sample: int, tolerance: float
) -> tuple[list[Finding], int]:
    await require_schema(wanted, "gsc-stream")
    async with connection(wanted.postgres_dsn.get_secret_value(), application="gsc-stream") as conn:
        days = await read_days(conn, *span)
    found = [finding for day in days for finding in findings_of(day, now())]
    if sample:
        found += [finding async for finding in _totals(catalog, days, sample, tolerance)]
    return found, len(days)


async def _totals(catalog: Catalog, days: Sequence[Day], sample: int, tolerance: float) -> AsyncIterator[Finding]:
    """One call for each series of the sample: totals by date are few rows, however long the range."""
    calling = settings(FetcherSettings)
    chosen = random.sample(catalog.properties, min(sample, len(catalog.properties)))
    series = [(item, report, kind) for item in chosen for report, kind in _comparable(catalog, item)]
    tokens = AccessTokens(catalog.credentials)
    try:
        async with SearchConsole(calling.api_root, timeout_s=calling.http_timeout_s, connections=2) as console:
            with progress_bar("asking Google") as bar:
                for number, (item, report, kind) in enumerate(series, start=1):
                    mine = [d for d in days if (d.property, d.report, d.search_type) == (item.url, report, kind)]
                    if mine:
                        token = await tokens.token(item.credential)
                        totals = await console.totals(item.url, kind, (mine[0].date, mine[-1].date), token)
                        for finding in differing_totals(mine, totals, tolerance):
                            yield finding
                    bar(item.url, number, len(series))
    finally:
        tokens.close()


def _comparable(catalog: Catalog, item: Property) -> list[tuple[str, SearchType]]:
    """Series of the property whose sums are the API's totals of final data."""
    return [
        (report.name, kind)
        for report in catalog.reports_of(item)
        if set(report.dimensions) <= _SUMS_ARE_TOTALS and "date" in report.dimensions and report.data_state == "final"
        for kind in report.search_types
    ]


async def _ask(wanted: SyncSettings, wishes: Sequence[RefetchRequest]) -> None:
    if not wishes:
        return
    await require_topics(wanted)
    topic = SYNC_REQUESTS.full_name(wanted.topic_prefix)
    async with open_publisher(wanted.kafka, "gsc-stream") as publisher:
        for wish in wishes:
            fields = {
                "properties": [wish.property],
                "reports": [wish.report],
                "start": wish.start.isoformat(),
                "end": wish.end.isoformat(),
            }
            moment = now()
            request = build_request(fields, now=moment, today=pacific_date(moment), requested_by="reconcile")
            await publisher.publish(topic, request.request_id, codec.encode(request))
