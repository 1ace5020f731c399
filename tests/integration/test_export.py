"""`gsc-stream export`: complete days as Parquet files, on a real PostgreSQL."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from cli.__main__ import main
from pipeline.contracts.records import SeriesKey
from pipeline.ledger import runs
from pipeline.postgres import Connection, connection
from pipeline.report_views import COMMENTS
from pipeline.schema import migrate

SITE = "sc-domain:example.com"
CATALOG = """\
credentials:
  - {id: acme, type: service_account, file: acme.json}
properties:
  - {url: "sc-domain:example.com", credential: acme}
reports:
  - {name: by_page, dimensions: [date, page], search_types: [web, discover]}
  - {name: by_date, dimensions: [date]}
"""
JANUARY, FEBRUARY = (date(2026, 1, 30), date(2026, 1, 31)), (date(2026, 2, 1),)
COLUMNS = ["property", "search_type", "date", "page", "clicks", "impressions", "ctr", "position"]


def on_database(dsn: str, work: Callable[[Connection], Awaitable[None]]) -> None:
    async def run() -> None:
        async with connection(dsn, application="test") as conn:
            await work(conn)

    asyncio.run(run())


async def add_day(conn: Connection, day: date, count: int, *, complete: bool = True, search_type: str = "web") -> None:
    series = await runs.series_number(conn, SeriesKey(SITE, "by_page", search_type, ("date", "page")))
    await conn.execute("select gsc.ensure_month(%s)", (day,))
    await conn.execute(
        "insert into gsc.facts (series, date, key, generation, clicks, impressions, ctr, position, page, page_number)"
        " select %s, %s, gen_random_uuid(), 1, n, 10, n / 10.0, %s, 'page ' || n, 0 from generate_series(1, %s) n",
        (series, day, None if search_type == "discover" else 1.5, count),
    )
    await conn.execute(
        "insert into gsc.days (series, date, complete_generation, completed_at, rows)"
        " values (%s, %s, 1, case when %s then now() end, %s)",
        (series, day, complete, count),
    )


@pytest.fixture
def database(dsn: str) -> str:
    async def fill(conn: Connection) -> None:
        await migrate(conn)
        for day in (*JANUARY, *FEBRUARY):
            await add_day(conn, day, 3)
        await add_day(conn, FEBRUARY[0], 60_000, search_type="discover")
        await add_day(conn, date(2026, 2, 2), 5, complete=False)

    on_database(dsn, fill)
    return dsn


def export(dsn: str, folder: Path, *options: object) -> Result:
    folder.mkdir(exist_ok=True)
    (folder / "catalog.yaml").write_text(CATALOG)
    arguments = ["export", str(folder / "out"), *map(str, options)]
    return CliRunner().invoke(
        main, arguments, env={"GSC_POSTGRES_DSN": dsn, "GSC_CATALOG": str(folder / "catalog.yaml")}
    )


def export_json(dsn: str, folder: Path, *options: object) -> dict[str, Any]:
    result = export(dsn, folder, *options, "--json")
    assert result.exit_code == 0, result.output
    return {name: value for name, value in json.loads(result.stdout).items() if name != "folder"}


def test_complete_days_are_files_by_report_and_month(database: str, tmp_path: Path) -> None:
    assert export_json(database, tmp_path) == {"files": 2, "rows": 60_009, "unchanged": 0}
    files = sorted((tmp_path / "out").rglob("*.*"))
    names = [str(file.relative_to(tmp_path / "out")) for file in files]
    assert names == ["by_page/month=2026-01/data.parquet", "by_page/month=2026-02/data.parquet"]
    table = pq.read_table(files[0], partitioning=None)
    assert table.column_names == COLUMNS
    assert sorted(table.to_pylist(), key=lambda row: (row["date"], row["page"]))[0] == {
        "property": SITE, "search_type": "web", "date": JANUARY[0], "page": "page 1",
        "clicks": 1.0, "impressions": 10.0, "ctr": 0.1, "position": 1.5,
    }  # fmt: skip
    assert table.schema.field("position").metadata[b"comment"].decode() == COMMENTS["position"]
    days = pq.read_table(files[1], partitioning=None).group_by(["date", "search_type"]).aggregate([("clicks", "count")])
    assert {(row["search_type"], row["date"], row["clicks_count"]) for row in days.to_pylist()} == {
        ("web", FEBRUARY[0], 3),
        ("discover", FEBRUARY[0], 60_000),
    }


def test_a_second_export_writes_only_months_that_have_changed(database: str, tmp_path: Path) -> None:
    export_json(database, tmp_path)
    assert export_json(database, tmp_path) == {"files": 0, "rows": 0, "unchanged": 2}
    on_database(database, lambda conn: add_day(conn, date(2026, 2, 3), 1))
    assert export_json(database, tmp_path) == {"files": 1, "rows": 60_004, "unchanged": 1}


def test_an_interrupted_export_is_continued(database: str, tmp_path: Path) -> None:
    export_json(database, tmp_path)
    [january, february] = sorted((tmp_path / "out").rglob("*.parquet"))
    february.write_bytes(february.read_bytes()[:1000])
    (january.parent / "data.unfinished").write_bytes(b"PAR1")
    assert export_json(database, tmp_path) == {"files": 1, "rows": 60_003, "unchanged": 1}


def test_reports_and_days_can_be_chosen(database: str, tmp_path: Path) -> None:
    assert export_json(database, tmp_path, "--report", "by_date") == {"files": 0, "rows": 0, "unchanged": 0}
    period = ("--start", "2026-01-31", "--end", "2026-01-31")
    assert export_json(database, tmp_path, *period) == {"files": 1, "rows": 3, "unchanged": 0}
    result = export(database, tmp_path, "--report", "by_pag")
    assert (result.exit_code, result.stderr) == (
        2, "--report: unknown report 'by_pag'; did you mean 'by_page'?\n"
    )  # fmt: skip


def test_a_folder_that_cannot_be_written_is_one_line(database: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "by_page").write_text("a file")
    result = export(database, tmp_path)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("FOLDER: ")
