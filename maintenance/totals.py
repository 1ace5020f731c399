"""Comparison of a sample of series with Google's own totals.

It takes one call for each series: totals by date are few rows, however long the period.
"""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date
from typing import NamedTuple

from fetcher.credentials import AccessTokens
from fetcher.search_console import SearchConsole
from fetcher.settings import FetcherSettings
from maintenance.reconcile import Day, Finding, differing_totals
from pipeline.catalog import Catalog, Property
from pipeline.contracts.messages import ALL_ROWS, SearchType

_ADDITIVE = frozenset({"date", "country", "device"})
"""Dimensions whose rows add up to the day's total. Rare queries are withheld, and pages may share a click."""


class ComparableSeries(NamedTuple):
    """A series whose sums equal the API's totals of final data."""

    property: Property
    report: str
    search_type: SearchType


ReadTotals = Callable[[ComparableSeries, tuple[date, date]], Awaitable[Mapping[date, tuple[float, float]]]]
"""Returns Google's clicks and impressions by day. Raises PipelineError."""


def sample_series(catalog: Catalog, properties: int) -> list[ComparableSeries]:
    """Return the comparable series of this number of properties, which are drawn at random."""
    drawn = random.sample(catalog.properties, min(properties, len(catalog.properties)))
    return [series for item in drawn for series in comparable_series(catalog, item)]


def comparable_series(catalog: Catalog, item: Property) -> list[ComparableSeries]:
    """Return the series of a property that can be compared."""
    return [
        ComparableSeries(item, report.name, search_type)
        for report in catalog.reports_of(item)
        if report.selection == ALL_ROWS and report.data_state == "final"
        if set(report.dimensions) <= _ADDITIVE and "date" in report.dimensions
        for search_type in report.search_types
    ]


@asynccontextmanager
async def google_totals(settings: FetcherSettings, catalog: Catalog) -> AsyncIterator[ReadTotals]:
    """Connect to Search Console for the length of a block."""
    tokens = AccessTokens(catalog.credentials, settings.allowed_token_hosts)
    try:
        async with SearchConsole(settings.api_root, timeout_s=settings.http_timeout_s, connections=2) as console:

            async def read(series: ComparableSeries, period: tuple[date, date]) -> Mapping[date, tuple[float, float]]:
                token = await tokens.token(series.property.credential)
                return await console.totals(series.property.url, series.search_type, period, token)

            yield read
    finally:
        tokens.close()


async def compare_totals(
    sample: Sequence[ComparableSeries],
    days: Sequence[Day],
    tolerance: float,
    read: ReadTotals,
    show: Callable[[str, int, int], None],
) -> list[Finding]:
    """Return the days of the series that differ from Google's totals. `show` receives the progress.

    Raises PipelineError.
    """
    findings: list[Finding] = []
    for number, series in enumerate(sample, start=1):
        url, key = series.property.url, (series.property.url, series.report, series.search_type)
        if own := [day for day in days if (day.property, day.report, day.search_type) == key]:
            findings += differing_totals(own, await read(series, (own[0].date, own[-1].date)), tolerance)
        show(url, number, len(sample))
    return findings
