"""A sync of days that have not changed: neither Kafka nor PostgreSQL gets a row."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.scenario import Scenario
from lab.servers import Servers
from pipeline.contracts import codec
from pipeline.contracts.messages import Result, Rows, Unchanged
from pipeline.contracts.topics import RESULTS
from pipeline.topic_reader import OffsetRange, OffsetRanges, open_topic_reader
from support.pipeline import Running, a_day, query, run_json, running_pipeline, simulator_settings

DAYS = 3
FULL_DAY, CAP_DAY = a_day(1), a_day(2)
"""One full page with an empty one behind it; two full pages, which share a row, with an empty one behind them."""
PAGES = {"by_date": [1, 1, 1], "page_query": [1, 2, 3]}
REPORTS = [
    {"name": "by_date", "dimensions": ["date"]},
    {"name": "page_query", "dimensions": ["date", "query", "page", "country", "device"]},
]


@pytest.fixture
def running(servers: Servers, dsn: str, topic_prefix: str, folder: Path) -> Iterator[Running]:
    world = simulator_settings(Scenario(days=DAYS, properties=1, rows=50, latency_s=0.0))
    with running_pipeline(servers, dsn, topic_prefix, folder, world, reports=REPORTS) as running:
        yield running


class Topic:
    """What was published on `gsc.results` since the last look."""

    def __init__(self, running: Running) -> None:
        self._setup = running.setup
        self._seen: OffsetRanges = {}

    async def new(self) -> list[Result]:
        topic = RESULTS.full_name(self._setup.prefix)
        async with open_topic_reader(self._setup.kafka, self._setup.prefix, topic) as reader:
            available = await reader.available()
            seen = {number: self._seen[number].end if number in self._seen else 0 for number in available}
            new = {number: OffsetRange(seen[number], range_.end) for number, range_ in available.items()}
            self._seen = available
            return [codec.decode_result(record.value) async for records in reader.records(new) for record in records]


def sync(running: Running, *options: str) -> None:
    start, end = a_day(DAYS - 1).isoformat(), a_day(0).isoformat()
    run_json(running, "sync", "--all", "--start", start, "--end", end, "--wait", *options)


async def versions(dsn: str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Of each row, what changes whenever it is written."""
    rows = await query(dsn, "select series, date, key, xmin, ctid from gsc.facts")
    return {row[:3]: row[3:] for row in rows}


async def test_only_the_rows_of_changed_pages_are_sent_and_only_changed_rows_written(
    running: Running, dsn: str
) -> None:
    topic, pages = Topic(running), sum(map(sum, PAGES.values()))
    sync(running)
    first = await versions(dsn)
    assert all(isinstance(result, Rows) for result in await topic.new())

    sync(running)
    results = await topic.new()
    assert [type(result) for result in results] == [Unchanged] * pages
    assert await versions(dsn) == first
    assert run_json(running, "status")["unchanged_pages"] == pages

    running.post("revise", {"site": "sc-domain:shop-1.example", "date": FULL_DAY.isoformat(), "change": 1})
    sync(running)
    sent = [result.batch for result in await topic.new() if isinstance(result, Rows)]
    changed = {("by_date", FULL_DAY, 0), ("page_query", FULL_DAY, 0)}
    assert {(batch.report, batch.date, batch.start_row) for batch in sent} == changed
    second = await versions(dsn)
    assert Counter(second[row] == first[row] for row in first)[False] == 2
    assert await running.differences(DAYS) == []

    sync(running, "--full")
    assert all(isinstance(result, Rows) for result in await topic.new())
    third = await versions(dsn)
    # A row that two pages list is written with each of them.
    assert {day for (series, day, key), version in third.items() if version != second[series, day, key]} <= {CAP_DAY}


async def test_a_day_whose_pages_share_a_row_is_fetched_as_a_whole(running: Running, dsn: str) -> None:
    topic = Topic(running)
    sync(running)
    await topic.new()
    running.post("revise", {"site": "sc-domain:shop-1.example", "date": CAP_DAY.isoformat(), "change": 1})
    sync(running)
    sent = [result.batch for result in await topic.new() if isinstance(result, Rows)]
    assert {batch.start_row for batch in sent if batch.report == "page_query"} == {0, 25_000, 50_000}
    assert {batch.date for batch in sent} == {CAP_DAY}
    assert await running.differences(DAYS) == []
