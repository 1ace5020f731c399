"""`gsc-stream export`: complete days as Parquet files."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import click

from cli.context import fail, load_catalog, read_environment, run
from cli.ledger import open_ledger
from cli.options import day, json_option
from cli.output import print_json
from cli.progress_bar import progress_bar
from lab.progress import ShowProgress
from pipeline.catalog import Catalog
from pipeline.contracts.text import did_you_mean
from pipeline.postgres import MAINTENANCE
from pipeline.report import Report
from pipeline.settings import CatalogSettings, PostgresSettings

_FIRST, _LAST = date(2000, 1, 1), date(2199, 12, 31)


class ExportSettings(PostgresSettings, CatalogSettings):
    """The settings of the command."""


@dataclass
class Exported:
    """What an export did."""

    folder: str
    files: int = 0
    rows: int = 0
    unchanged: int = 0
    """Files that had the same rows already."""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--report", "names", multiple=True, help="A report of the catalog. Can be repeated.  [default: all]")
@click.option("--start", callback=day, help="First day, YYYY-MM-DD.  [default: the oldest]")
@click.option("--end", callback=day, help="Last day, inclusive.  [default: the newest]")
@json_option
def export(folder: Path, names: tuple[str, ...], start: date | None, end: date | None, as_json: bool) -> None:
    """Write the complete days of reports as Parquet files: FOLDER/REPORT/month=YYYY-MM/data.parquet.

    A file whose days have not changed is left alone, so the same command continues an interrupted export, and updates
    an older one. It needs the package's extra `export`.

    \b
    Example: gsc-stream export /data/search-console --report page_query
    """
    if find_spec("pyarrow") is None:
        fail("Parquet files need pyarrow: install 'gsc-stream[export]'")
    settings = read_environment(ExportSettings)
    reports = _reports(load_catalog(settings), names)
    try:
        with progress_bar("reading the ledger", show=not as_json) as bar:
            exported = run(_export(settings, reports, folder, (start or _FIRST, end or _LAST), bar))
    except OSError as error:
        fail(f"FOLDER: {error.filename or folder}: {error.strerror}", field="FOLDER")
    if as_json:
        print_json(asdict(exported))
    else:
        click.echo(
            f"{folder}: {exported.rows} rows in {exported.files} files written, {exported.unchanged} files unchanged"
        )


def _reports(catalog: Catalog, names: Sequence[str]) -> list[Report]:
    for name in names:
        if name not in catalog.report_by_name:
            nearest = did_you_mean(name, catalog.report_by_name) or "; it is not in the catalog"
            fail(f"--report: unknown report {name!r}{nearest}", field="--report")
    return [report for report in catalog.reports if not names or report.name in names]


async def _export(
    settings: ExportSettings, reports: Sequence[Report], folder: Path, period: tuple[date, date], bar: ShowProgress
) -> Exported:
    from maintenance.export import export_month, is_exported, read_months

    exported = Exported(str(folder))
    async with open_ledger(settings, MAINTENANCE) as conn:
        months = await read_months(conn, reports, *period)
        for number, month in enumerate(months, start=1):
            if is_exported(month, folder):
                exported.unchanged += 1
            else:
                exported.rows += await export_month(conn, month, folder)
                exported.files += 1
            bar(str(month.path(folder)), number, len(months))
    return exported
