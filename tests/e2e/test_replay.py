"""Replay beside live work, into an empty database, and over newer rows on purpose."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from lab.database import create_database, drop_database
from lab.scenario import Scenario
from lab.servers import Servers
from pipeline.catalog_file import read_catalog
from pipeline.clock import now
from pipeline.postgres import connection
from pipeline.report_views import create_report_views
from pipeline.schema import migrate
from support.pipeline import (
    LAST_DAY,
    SITES,
    Running,
    a_day,
    query,
    run_command,
    run_json,
    running_pipeline,
    simulator_settings,
)

FACTS = "select s.property, s.report, f.date, f.key, f.generation, f.clicks, f.impressions, f.position, f.query, f.page"


async def facts(dsn: str) -> list[tuple[Any, ...]]:
    return await query(dsn, f"{FACTS} from gsc.facts f join gsc.series s using (series) order by 1, 2, 3, 4")


def revise_three_days(running: Running) -> None:
    """Change, add and remove rows of three days of each property."""
    for site in SITES:
        for number in range(3):
            change = {"date": a_day(number).isoformat(), "change": 5, "add": 7, "vanish": 9}
            running.post("revise", {"site": site, **change})


@asynccontextmanager
async def an_empty_database(servers: Servers, running: Running) -> AsyncIterator[str]:
    """A database with the schema and the views of the pipeline, and no rows."""
    name = f"rebuilt_{uuid4().hex}"
    dsn = create_database(servers.dsn, name)
    async with connection(dsn, application="test") as conn:
        await migrate(conn)
        await create_report_views(conn, read_catalog(running.setup.catalog))
    yield dsn
    drop_database(servers.dsn, name)


async def test_replay_beside_live_work_and_into_an_empty_database(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    world = simulator_settings(Scenario(days=6, rows=60))
    with running_pipeline(servers, dsn, topic_prefix, folder, world) as running:
        first = await running.request_sync(3)
        await running.finished(first)
        middle = now()
        revise_three_days(running)
        assert await running.differences(3) != []
        live = await running.request_sync(6)
        old = await asyncio.to_thread(run_json, running, "replay", "--to", middle.isoformat())
        assert (old["selected"] > 0, old["pages"]) == (True, 0)  # every page is applied already
        assert set(await running.finished(live)) == {"applied"}
        assert await running.differences(6) == []

        before = await facts(dsn)
        again = await asyncio.to_thread(run_json, running, "replay")
        assert (again["rows_written"], again["rows_deleted"], again["unreadable"]) == (0, 0, 0)
        assert await facts(dsn) == before

        counted = run_json(running, "replay", "--dry-run", "--property", SITES[0], "--start", str(LAST_DAY))
        assert counted["rows_by_property"].keys() == {SITES[0]}
        assert 0 < counted["selected"] < again["selected"]

        async with an_empty_database(servers, running) as rebuilt:
            running.setup.extra["GSC_POSTGRES_DSN"] = rebuilt  # type: ignore[index]
            assert (await asyncio.to_thread(run_json, running, "replay"))["rows_written"] > 0
            assert await facts(rebuilt) == before
            states = "select state, count(*) from gsc.pages group by state"
            assert await query(rebuilt, states) == await query(dsn, states)

            # On purpose: what the first run had seen, over what is newer.
            older = ("--to", middle.isoformat(), "--generation", "new")
            assert (await asyncio.to_thread(run_json, running, "replay", *older))["rows_written"] > 0
            assert await facts(rebuilt) != before

        refused = run_command(running, "replay", "--from", "yesterday")
        assert (refused.returncode, refused.stderr) == (
            2,
            "--from: 'yesterday' is not an ISO 8601 time, such as 2026-01-31T12:00:00Z\n",
        )
