"""The views of the reports: one named as each report, and those with the names of Google's bulk export."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
from psycopg import errors, sql

from pipeline.catalog import Catalog
from pipeline.contracts.messages import ALL_ROWS
from pipeline.contracts.reports import value_dimensions
from pipeline.postgres import MIGRATION_LOCK, Connection, database_errors
from pipeline.report import Report

COLUMN_OF_DIMENSION: Mapping[str, str] = {
    "query": "query",
    "page": "page",
    "country": "country",
    "device": "device",
    "searchAppearance": "search_appearance",
    "hour": "hour",
}
COMMENTS: Mapping[str, str] = {
    "property": "The site in Search Console, spelled as the API spells it.",
    "search_type": "web, image, video, news, discover or googleNews.",
    "date": "The day, in Pacific time.",
    "query": "What was searched for. Google does not list rare queries.",
    "page": "The canonical address of the page that was shown.",
    "country": "Where the search came from: ISO 3166-1 alpha-3 in small letters, zzz if it is unknown.",
    "device": "DESKTOP, MOBILE or TABLET.",
    "search_appearance": "How the result was shown, such as VIDEO.",
    "hour": "The start of the hour, with the offset of Pacific time.",
    "clicks": "Clicks on a result.",
    "impressions": "How often a result was shown.",
    "ctr": "clicks / impressions.",
    "position": "The average position of the highest result; 1 is the first. Null for discover and googleNews.",
    "data_date": "The day, in Pacific time.",
    "site_url": "The site in Search Console.",
    "url": "The canonical address of the page that was shown.",
    "is_anonymized_query": "Always false: the API does not list the rows of anonymized queries.",
    "is_anonymized_discover": "Always false: the API does not list these rows.",
    "sum_top_position": "Impressions x (position - 1), rounded: the API has the average position only.",
    "sum_position": "Impressions x (position - 1), rounded: the API has the average position only.",
}
"""Comments on the columns of all views, by name."""
_SEARCH = frozenset({"date", "query", "country", "device"})


class _View(NamedTuple):
    """A view to create: `columns` are expressions with the names of the columns."""

    name: str
    report: Report
    columns: Mapping[str, str]
    comment: str


async def create_report_views(conn: Connection, catalog: Catalog) -> None:
    """Create or replace the view `gsc.<report>` of every report of the catalog, and those of the bulk export."""
    async with database_errors(), conn.transaction():
        await conn.execute("select pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
        for view in _views(catalog.reports):
            await _replace(conn, view)


def _views(reports: Sequence[Report]) -> Iterator[_View]:
    for report in reports:
        yield _View(report.name, report, columns_of(report), f"Report {report.name}: {', '.join(report.dimensions)}.")
    yield from _bulk_export_views([report for report in reports if report.selection == ALL_ROWS])


def columns_of(report: Report) -> Mapping[str, str]:
    """Return the columns of a report's view: expressions by name."""
    dimensions = [f"f.{COLUMN_OF_DIMENSION[name]}" for name in value_dimensions(report.dimensions)]
    names = ("s.property", "s.search_type", "f.date", *dimensions, "f.clicks", "f.impressions", "f.ctr", "f.position")
    return {name[2:]: name for name in names}


def _bulk_export_views(reports: Sequence[Report]) -> Iterator[_View]:
    """Yield the views of the bulk export for the first reports with their dimensions."""
    site = next((report for report in reports if set(report.dimensions) == _SEARCH), None)
    if site:
        columns = _bulk_export_columns({}, "sum_top_position", {})
        comment = f"Report {site.name}, with the columns of BigQuery's searchdata_site_impression."
        yield _View("searchdata_site_impression", site, columns, comment)
    url = next((report for report in reports if set(report.dimensions) == _SEARCH | {"page"}), None)
    if url:
        columns = _bulk_export_columns({"url": "f.page"}, "sum_position", {"is_anonymized_discover": "false"})
        comment = f"Report {url.name}, with the columns of BigQuery's searchdata_url_impression."
        yield _View("searchdata_url_impression", url, columns, comment)


def _bulk_export_columns(url: Mapping[str, str], position: str, more: Mapping[str, str]) -> Mapping[str, str]:
    return {
        "data_date": "f.date",
        "site_url": "s.property",
        **url,
        "query": "f.query",
        "is_anonymized_query": "false",
        **more,
        "country": "f.country",
        "search_type": "case s.search_type when 'googleNews' then 'GOOGLE_NEWS' else upper(s.search_type) end",
        "device": "f.device",
        "impressions": "f.impressions::bigint",
        "clicks": "f.clicks::bigint",
        position: "round(f.impressions * (f.position - 1))::bigint",
    }


async def _replace(conn: Connection, view: _View) -> None:
    name = sql.Identifier("gsc", view.name)
    try:
        async with conn.transaction():  # replaced in place, to keep grants and dependent views
            await conn.execute(_create(name, view))
    except errors.InvalidTableDefinition:  # the columns have changed
        await conn.execute(sql.SQL("drop view {}").format(name))
        await conn.execute(_create(name, view))
    await conn.execute(sql.SQL("comment on view {} is {}").format(name, sql.Literal(view.comment)))
    for column in view.columns:
        statement = sql.SQL("comment on column {} is {}")
        comment = sql.Literal(COMMENTS[column])
        await conn.execute(statement.format(sql.Identifier("gsc", view.name, column), comment))


def _create(name: sql.Identifier, view: _View) -> sql.Composed:
    columns = (
        sql.SQL("{} as {}").format(sql.SQL(expression), sql.Identifier(column))
        for column, expression in view.columns.items()
    )
    return sql.SQL(
        "create or replace view {view} as"
        " select {columns} from gsc.facts f join gsc.series s using (series) where {series}"
    ).format(view=name, columns=sql.SQL(", ").join(columns), series=of_report(view.report))


def of_report(report: Report) -> sql.Composed:
    """Return the condition that a row `s` of `gsc.series` belongs to a report as it is defined now."""
    return sql.SQL("s.report = {report} and s.dimensions = {dimensions} and s.selection = {selection}").format(
        report=sql.Literal(report.name),
        dimensions=sql.Literal(list(report.dimensions)),
        selection=sql.Literal(msgspec.json.encode(report.selection).decode()),
    )
