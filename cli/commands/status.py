"""`gsc-stream status`: progress and lag, and why anything waits."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click
import msgspec

from cli.context import LedgerSettings, read_environment, run
from cli.options import json_option
from cli.output import print_json, print_table
from pipeline.clock import now
from pipeline.consumer_lag import LagReader
from pipeline.contracts.partition_status import status_of
from pipeline.contracts.records import PartitionLag
from pipeline.contracts.topics import BATCHES, RESULTS, SYNC_REQUESTS, Topic
from pipeline.control import read_halts
from pipeline.kafka import group_id
from pipeline.postgres import REPORT, connection, database_errors
from pipeline.retry import with_retries
from pipeline.startup_checks import require_schema, require_topics

WATCH_EVERY_S = 2.0


@click.command()
@click.option("--watch", is_flag=True, help="Repeat every two seconds, until Ctrl-C.")
@json_option
def status(watch: bool, as_json: bool) -> None:
    """Show the status of each partition, lag, pages by state, and halts."""
    settings = read_environment(LedgerSettings)
    while True:
        current = run(_read_status(settings))
        print_json(current) if as_json else _print_status(current)
        if not watch:
            return
        time.sleep(WATCH_EVERY_S)


async def _read_status(settings: LedgerSettings) -> dict[str, Any]:
    await require_topics(settings)
    await require_schema(settings, "gsc-stream")
    halts = await read_halts(settings.kafka, settings.topic_prefix)
    topics = {"producer": SYNC_REQUESTS, "fetcher": BATCHES, "sink": RESULTS}
    lags = {service: await _read_lag(settings, service, topic) for service, topic in topics.items()}
    return {
        "partitions": _partitions(lags["fetcher"], now()),
        "lag": {service: {number: item.lag for number, item in lag.items()} for service, lag in lags.items()},
        **await _read_ledger(settings),
        "halts": [control.scope for control in halts.active(now())],
    }


async def _read_lag(settings: LedgerSettings, service: str, topic: Topic) -> dict[int, PartitionLag]:
    prefix = settings.topic_prefix
    reader = LagReader(settings.kafka, group=group_id(prefix, service), topic=topic.full_name(prefix))
    return dict(sorted((await with_retries(reader.read)).items()))


def _partitions(fetchers: Mapping[int, PartitionLag], at: datetime) -> list[dict[str, Any]]:
    """Return the status of every partition of `gsc.batches`, as reported by its owner."""
    statuses = {number: status_of(lag, at) for number, lag in fetchers.items()}
    return [
        {
            "partition": number,
            "state": item.state,
            "lag": fetchers[number].lag,
            "reason": item.reason,
            "until": msgspec.to_builtins(item.until),
            "reported_at": msgspec.to_builtins(item.at),
        }
        for number, item in statuses.items()
    ]


async def _read_ledger(settings: LedgerSettings) -> dict[str, Any]:
    dsn = settings.postgres_dsn.get_secret_value()
    async with connection(dsn, application="gsc-stream", limits=REPORT) as conn, database_errors():
        by_state = "select state, count(*) from gsc.pages group by state"
        pages: dict[str, int] = dict(await (await conn.execute(by_state)).fetchall())
        days = "select count(complete_generation), count(*) filter (where truncated) from gsc.days"
        complete, truncated = await (await conn.execute(days)).fetchone() or (0, 0)
    return {"pages": pages, "days": {"complete": complete, "truncated": truncated}}


def _print_status(current: dict[str, Any]) -> None:
    lag = current["lag"]
    rows = [
        (item["partition"], item["state"], item["lag"], lag["sink"].get(item["partition"], "-"), _reason(item))
        for item in current["partitions"]
    ]
    totals = ("all", "", sum(lag["fetcher"].values()), sum(lag["sink"].values()), "")
    print_table("Partitions", ("partition", "status", "fetcher lag", "sink lag", "reason"), [*rows, totals])
    click.echo(f"sync requests not planned yet: {sum(lag['producer'].values())}")
    print_table("Pages", ("state", "pages"), sorted(current["pages"].items()))
    days = current["days"]
    click.echo(f"complete days: {days['complete']}, of which truncated by Google: {days['truncated']}")
    click.echo(f"halts: {', '.join(current['halts']) or 'none'}")


def _reason(item: dict[str, Any]) -> str:
    return f"{item['reason']}, until {item['until']}" if item["until"] else str(item["reason"])
