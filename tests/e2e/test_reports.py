"""Reports with filters, aggregation and row limits, from the catalog to their views."""

from pathlib import Path

from lab.scenario import Scenario
from lab.servers import Servers
from support.pipeline import query, running_pipeline, simulator_settings

WORLD = Scenario(days=3, properties=1, rows=200, latency_s=0.0, full_days=False)
BLOG = {"dimension": "page", "operator": "includingRegex", "expression": "path/[1-9]"}
REPORTS = [
    {"name": "mobile", "dimensions": ["date", "query"], "filters": [{"dimension": "device", "expression": "MOBILE"}]},
    {
        "name": "elsewhere",
        "dimensions": ["date", "page", "country"],
        "filters": [BLOG, {"dimension": "country", "operator": "notEquals", "expression": "jpn"}],
        "aggregation_type": "byPage",
    },
    {"name": "top_queries", "dimensions": ["date", "query"], "row_limit": 7},
    {"preset": "airbyte/search_analytics_site_report_by_site", "name": "by_site", "search_types": ["web"]},
]


async def test_every_view_has_the_rows_that_its_report_selects(
    servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    with running_pipeline(servers, dsn, topic_prefix, folder, simulator_settings(WORLD), reports=REPORTS) as running:
        assert await running.finished(await running.request_sync(3)) == {"applied": len(REPORTS) * 3}
        assert await running.differences(3) == []
        counts = await query(dsn, "select date, count(*) from gsc.top_queries group by date")
        assert {count for _, count in counts} == {7}
        assert await query(dsn, "select count(*) from gsc.elsewhere where country = 'jpn'") == [(0,)]
        assert len(running.calls()) == len(REPORTS) * 3
