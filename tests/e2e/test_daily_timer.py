"""The producer's daily timer."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from lab.scenario import REPORTS, Scenario
from lab.servers import Servers
from pipeline.clock import now
from pipeline.pacific import pacific_date
from support.pipeline import (
    query,
    run_json,
    running_pipeline,
    simulator_settings,
)
from support.wait import until

EVERY_TWO_SECONDS = "* * * * * */2"

TIMER = {"GSC_DAILY_CRON": EVERY_TWO_SECONDS, "GSC_DAILY_DAYS": "8", "GSC_RETENTION_CRON": EVERY_TWO_SECONDS}

TIMED_REPORTS = [
    *REPORTS,
    {"name": "fresh", "dimensions": ["date", "page"], "data_state": "all", "retention": 5},
    {"name": "hourly", "dimensions": ["date", "hour", "page"], "data_state": "hourly_all"},
]

PLANNED_DAYS = "select s.report, count(distinct p.date) from gsc.pages p join gsc.series s using (series) group by 1"


async def test_the_timer_asks_for_the_window_once_a_day_and_deletes_what_is_not_kept(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    world = simulator_settings(Scenario(days=12, properties=1, rows=10, full_days=False))
    with running_pipeline(servers, dsn, topic_prefix, folder, world, reports=TIMED_REPORTS, **TIMER) as running:

        async def runs() -> list[tuple[Any, ...]]:
            return await query(dsn, "select run_id, request->>'request_id' from gsc.runs")

        async def planned() -> bool:
            return bool(await runs())

        await until(planned, 60, "the timer has asked")
        [(run, request_id)] = await runs()
        today = pacific_date(now())
        assert request_id.startswith(f"rolling-{today}-8-")
        assert set(await running.finished(run)) == {"applied"}
        assert dict(await query(dsn, PLANNED_DAYS)) == {
            "by_date": 6,
            "by_country": 6,
            "page_query": 6,
            "fresh": 6,
            "hourly": 9,
        }
        assert await query(dsn, "select bool_and(may_change) from gsc.days where date > current_date - 2") == [(True,)]
        hours = await query(dsn, "select count(*) from gsc.hourly where hour is not null")
        assert hours[0][0] > 0

        # The same window by hand: nothing new.
        waited = run_json(running, "sync", "--all", "--days", "8", "--wait")
        assert waited["run_id"] == run
        assert len(await runs()) == 1

        old = today - timedelta(days=6)
        await query(
            dsn,
            "insert into gsc.facts select series, date '" + str(old) + "', gen_random_uuid(), 1, 0, 0, 0, 0, 0"
            " from gsc.series where report = 'fresh' returning 1",
        )

        async def deleted() -> bool:
            return await query(dsn, f"select 1 from gsc.fresh where date <= '{old}'") == []

        await until(deleted, 60, "the timer has deleted what is not kept")
        nothing = {"rows": 0, "pages": 0, "months": 0, "superseded": 0}
        assert run_json(running, "retention", "--dry-run") == {**nothing, "dry_run": True}
