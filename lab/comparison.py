"""The table against the simulator's truth, row by row."""

from collections.abc import Mapping
from datetime import date
from typing import NamedTuple

import httpx

from pipeline.catalog import Catalog, Report
from pipeline.contracts.reports import TYPES_WITHOUT_POSITION, value_dimensions
from pipeline.contracts.text import storable
from pipeline.postgres import Connection
from pipeline.schema import COLUMN_OF_DIMENSION

Metrics = tuple[float, float, float, float | None]
Table = dict[tuple[str, ...], Metrics]


class Difference(NamedTuple):
    """A day of a series in which table and truth differ."""

    property: str
    report: str
    search_type: str
    date: date
    missing: int
    unexpected: int
    different: int


class Day(NamedTuple):
    """One day of one series."""

    property: str
    report: Report
    search_type: str
    date: date


def compared(day: Day, table: Mapping[tuple[str, ...], Metrics], truth: Table) -> Difference | None:
    """What differs, or None. Pure."""
    missing = len(truth.keys() - table.keys())
    unexpected = len(table.keys() - truth.keys())
    different = sum(table[key] != truth[key] for key in table.keys() & truth.keys())
    if not missing and not unexpected and not different:
        return None
    return Difference(day.property, day.report.name, day.search_type, day.date, missing, unexpected, different)


async def differences(conn: Connection, root: str, catalog: Catalog, days: list[date]) -> list[Difference]:
    """Compare the whole table: every series of the catalog on every day."""
    found = []
    async with httpx.AsyncClient(base_url=root, timeout=120) as client:
        for day in _days(catalog, days):
            difference = compared(day, await _table(conn, day), await _truth(client, day))
            if difference is not None:
                found.append(difference)
    return found


def _days(catalog: Catalog, days: list[date]) -> list[Day]:
    return [
        Day(item.url, report, search_type, day)
        for item in catalog.properties
        for report in catalog.reports_of(item)
        for search_type in report.search_types
        for day in days
    ]


async def _table(conn: Connection, day: Day) -> Table:
    columns = [COLUMN_OF_DIMENSION[name] for name in value_dimensions(day.report.dimensions)]
    listed = ", ".join([*columns, "clicks", "impressions", "ctr", "position"])
    # The view's and the columns' names come from the catalog, which allows nothing but words.
    statement = f"select {listed} from gsc.{day.report.name} where property = %s and search_type = %s and date = %s"
    cursor = await conn.execute(statement.encode(), (day.property, day.search_type, day.date))
    width = len(columns)
    return {row[:width]: row[width:] async for row in cursor}


async def _truth(client: httpx.AsyncClient, day: Day) -> Table:
    query = {
        "site": day.property,
        "date": day.date.isoformat(),
        "type": day.search_type,
        "dimensions": ",".join(day.report.dimensions),
        "dataState": day.report.data_state,
    }
    rows = (await client.get("/_sim/truth", params=query)).raise_for_status().json()
    wanted = [number for number, name in enumerate(day.report.dimensions) if name != "date"]
    without_position = day.search_type in TYPES_WITHOUT_POSITION
    return {
        tuple(storable(keys[number]) for number in wanted): (
            float(clicks),
            float(impressions),
            clicks / impressions,
            None if without_position else position,
        )
        for keys, clicks, impressions, position in rows
    }
