"""Planning a run on a real PostgreSQL."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.catalog import Catalog, Credential, Property
from pipeline.clock import now
from pipeline.contracts.messages import SyncRequest
from pipeline.ledger import pages, runs
from pipeline.pacific import pacific_date
from pipeline.postgres import Connection, connection
from pipeline.schema import migrate
from producer import intake
from producer.intake import PAGES_PER_COPY, PlannedRun, plan_run
from producer.planner import plan, series_of

CATALOG = Catalog(
    credentials=(Credential(id="acme", type="service_account", file=Path("x")),),
    properties=(
        Property(url="sc-domain:a.example", credential="acme"),
        Property(url="sc-domain:b.example", credential="acme"),
    ),
)
TODAY = pacific_date(now())
REQUEST = SyncRequest(
    request_id="r", all_properties=True, start=TODAY - timedelta(days=200), end=TODAY, requested_at=now()
)


async def test_a_run_is_planned_once_with_all_its_pages_and_locks_no_series_that_the_sink_needs(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = sorted(series_of(REQUEST, CATALOG))
    insert_pages = intake._insert_pages
    async with connection(dsn, application="test") as conn, connection(dsn, application="sink") as sink:
        await migrate(conn)
        await runs.series_number(conn, series[0])  # known before

        async def insert_while_the_sink_asks(conn: Connection, rows: Iterator[pages.PendingPage]) -> int:
            count = await insert_pages(conn, rows)
            async with asyncio.timeout(30):
                assert {key: await runs.series_number(sink, key) for key in series} == numbers
            return count

        numbers = await runs.series_numbers(conn, series)
        monkeypatch.setattr(intake, "_insert_pages", insert_while_the_sink_asks)
        expected = {page.batch_id for page in plan(REQUEST, CATALOG, 1, TODAY)}
        planned = await plan_run(conn, REQUEST, CATALOG, now())
        assert planned.pages == len(expected) > 2 * PAGES_PER_COPY
        assert (await runs.progress(conn, planned.run_id) or {})["pages"] == {"pending": planned.pages}
        assert await plan_run(conn, REQUEST, CATALOG, now()) == PlannedRun(planned.run_id, 0)
        assert await runs.series_numbers(conn, series) == numbers
