"""What a page costs in the sink, beside other ways to write the same rows to the same table."""

import asyncio
import multiprocessing
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from hashlib import blake2b
from itertools import chain, count
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from bench.results import log_progress, write
from bench.sink_load import PAGE, Cost, Load, run_sink
from lab.database import DatabaseOptions, running_database
from pipeline.clock import monotonic
from pipeline.postgres import connection
from pipeline.schema import migrate

Row = tuple[Any, ...]
COLUMNS = (
    "series",
    "date",
    "key",
    "generation",
    "clicks",
    "impressions",
    "ctr",
    "position",
    "page_number",
    "query",
    "page",
)
TYPES = ("integer", "date", "uuid", "bigint", *["double precision"] * 4, "smallint", "text", "text")
_LIST = ", ".join(COLUMNS)
_COPY = f"copy {{table}} ({_LIST}) from stdin"
_UPSERT = (
    "on conflict (series, date, key) do update set generation = excluded.generation, clicks = excluded.clicks,"
    " impressions = excluded.impressions, ctr = excluded.ctr, position = excluded.position"
    " where gsc.facts.generation < excluded.generation"
)
_generations = count(1)
_series = count(1_000_000)


def _rows(load: Load) -> Iterator[list[Row]]:
    for batch, page in load.fetches():
        series = next(_series)
        keys = [
            UUID(bytes=blake2b("".join(key).encode(), digest_size=16).digest()) for key in zip(*page.keys, strict=True)
        ]
        numbers = (page.clicks, page.impressions, page.ctr, page.position or [], [0] * page.rows)
        head = ([series] * page.rows, [batch.date] * page.rows, keys, [batch.generation] * page.rows)
        yield list(zip(*head, *numbers, *page.keys, strict=True))


def _text(rows: Iterable[Row]) -> bytes:
    return "".join("\t".join(map(str, row)) + "\n" for row in rows).encode()


def _copy(cursor: psycopg.Cursor, text: bytes) -> None:
    with cursor.copy(_COPY.format(table="gsc.facts")) as copy:
        copy.write(text)


def _staging(cursor: psycopg.Cursor, text: bytes) -> None:
    cursor.execute("create temporary table if not exists stage (like gsc.facts) on commit delete rows")
    with cursor.copy(_COPY.format(table="stage")) as copy:
        copy.write(text)
    cursor.execute(f"insert into gsc.facts ({_LIST}) select {_LIST} from stage {_UPSERT}")


def _executemany(cursor: psycopg.Cursor, rows: list[Row]) -> None:
    values = ", ".join(["%s"] * len(COLUMNS))
    cursor.executemany(f"insert into gsc.facts ({_LIST}) values ({values}) {_UPSERT}", rows)


def _unnest(cursor: psycopg.Cursor, rows: list[Row]) -> None:
    arrays = ", ".join(f"%s::{kind}[]" for kind in TYPES)
    columns = [list(column) for column in zip(*rows, strict=True)]
    cursor.execute(f"insert into gsc.facts ({_LIST}) select * from unnest({arrays}) {_UPSERT}", columns)


OTHERS: dict[str, tuple[Callable[[psycopg.Cursor, Any], None], bool]] = {
    "copy": (_copy, True),
    "staging": (_staging, True),
    "unnest": (_unnest, False),
    "executemany": (_executemany, False),
}
"""Ways to write, and whether they take text that is formatted before the clock starts."""


def _others(dsn: str, days: int) -> dict[str, float]:
    """Return the rows a second of the other ways, for new rows, one transaction a page."""
    speeds = {}
    for name, (way, as_text) in OTHERS.items():
        pages = [_text(rows) if as_text else rows for rows in _rows(Load(name, days if as_text else 2, 1))]
        with psycopg.connect(dsn) as conn, conn.cursor() as cursor:
            started = monotonic()
            for page in pages:
                way(cursor, page)
                conn.commit()
            speeds[name] = len(pages) * PAGE / (monotonic() - started)
        log_progress(f"{name}: {speeds[name]:,.0f} rows a second")
    return speeds


class _Sinks:
    """Runs sinks as processes on one database."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self._dsn = dsn
        self._folder = folder

    def generation(self) -> int:
        """Plan a run, and return its generation."""
        number = next(_generations)
        with psycopg.connect(self._dsn, autocommit=True) as conn:
            run = (f"run-{number}", f"request-{number}", number)
            conn.execute("insert into gsc.runs values (%s, %s, %s, 'backfill', '{}', now())", run)
        return number

    def run(self, loads: list[Load]) -> dict[str, float]:
        """Write each load with a sink of its own, all at once. Return rows a second, ms of CPU a page, and memory."""
        files = [self._folder / str(number) for number in range(len(loads))]
        for load, file in zip(loads, files, strict=True):
            load.save(file)
        start_at = monotonic() + 3.0 * len(loads)  # after every process has been started
        with ProcessPoolExecutor(len(loads), multiprocessing.get_context("spawn")) as pool:
            futures = [pool.submit(run_sink, self._dsn, file, start_at) for file in files]
            costs = [future.result() for future in futures]
        return _figures(costs, sum(load.pages for load in loads))


def _figures(costs: list[Cost], pages: int) -> dict[str, float]:
    seconds = max(cost.ended for cost in costs) - min(cost.started for cost in costs)
    return {
        "rows_per_s": round(pages * PAGE / seconds),
        "sink_ms_per_page": round(1000 * sum(cost.sink_cpu_s for cost in costs) / pages, 1),
        "postgres_ms_per_page": round(1000 * sum(cost.postgres_cpu_s for cost in costs) / pages, 1),
        "rss_max_mb": round(max(cost.rss_mb for cost in costs)),
    }


def _one_sink(sinks: _Sinks, days: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the cases of one sink: the same days again and again, each time in a new run."""
    yield "new", sinks.run([Load("one", days, sinks.generation())])
    yield "again", sinks.run([Load("one", days, sinks.generation())])
    yield "changed_1_percent", sinks.run([Load("one", days, sinks.generation(), changed=0.01)])
    yield "changed", sinks.run([Load("one", days, sinks.generation(), changed=1.0)])
    yield "half_new", sinks.run([Load("one", days, sinks.generation(), changed=1.0, conflicting=0.5)])
    for name in ("pages_new", "pages_again"):
        yield name, sinks.run([Load("pages", days // 2, sinks.generation(), pages_a_day=2)])


def _several_sinks(sinks: _Sinks, days: int) -> Iterator[tuple[str, dict[str, float]]]:
    for number in (2, 4):
        generation, each = sinks.generation(), days // 2
        yield f"{number}_sinks", sinks.run([Load(f"{number}-{n}", each, generation) for n in range(number)])
        loads = [Load(f"{number}", each, generation, first_day=each * n) for n in range(number)]
        yield f"{number}_sinks_one_property", sinks.run(loads)


def run(days: int) -> None:
    """Measure with pages of 25,000 rows, on an embedded PostgreSQL."""
    with tempfile.TemporaryDirectory(prefix="gsc-bench-") as folder, running_database(DatabaseOptions()) as database:
        asyncio.run(_prepare(database.dsn, days))
        others = _others(database.dsn, days)
        sinks = _Sinks(database.dsn, Path(folder))
        figures = {}
        for name, result in chain(_one_sink(sinks, days), _several_sinks(sinks, days)):
            figures[name] = result
            log_progress(f"{name}: {result}")
    ratios = {
        f"{name}_vs_copy": round(figures[name]["rows_per_s"] / others["copy"], 2)
        for name in ("new", "again", "changed")
    }
    rows_per_s = {name: round(speed) for name, speed in others.items()}
    write("sink", {"pages": days, "rows_a_page": PAGE, **ratios, "rows_per_s": rows_per_s, "sink": figures})


async def _prepare(dsn: str, days: int) -> None:
    async with connection(dsn, application="bench") as conn:
        await migrate(conn)
        for month in range(1, 1 + (2 * days) // 28 + 2):
            await conn.execute("select gsc.ensure_month(%s)", (date(2026, month, 1),))
