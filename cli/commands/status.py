"""`gsc-stream status`: how far everything is, and what it waits for."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click
import msgspec

from cli.output import LedgerSettings, json_option, print_json, print_table, run, settings
from pipeline.clock import now
from pipeline.consumer_lag import LagReader
from pipeline.contracts.partition_status import status_of
from pipeline.contracts.records import PartitionLag
from pipeline.contracts.topics import BATCHES, RESULTS, SYNC_REQUESTS, Topic
from pipeline.control import read_halts
from pipeline.kafka import group_id
from pipeline.postgres import connection, database_errors
from pipeline.retry import with_retries
from pipeline.startup_checks import require_schema, require_topics

WATCH_S = 2.0


@click.command()
@click.option("--watch", is_flag=True, help="Again every two seconds, until Ctrl-C.")
@json_option
def status(watch: bool, as_json: bool) -> None:
    """Show how each partition stands, lag, pages by state and halts."""
    wanted = settings(LedgerSettings)
    while True:
        told = run(_status(wanted))
        if as_json:
            print_json(told)
        else:
            _show(told)
        if not watch:
            return
        time.sleep(WATCH_S)


async def _status(wanted: LedgerSettings) -> dict[str, Any]:
    await require_topics(wanted)
    await require_schema(wanted, "gsc-stream")
    halts = await read_halts(wanted.kafka, wanted.topic_prefix)
    topics = {"producer": SYNC_REQUESTS, "fetcher": BATCHES, "sink": RESULTS}
    lags = {service: await _lags(wanted, service, topic) for service, topic in topics.items()}
    return {
        "partitions": _partitions(lags["fetcher"], now()),
        "lag": {service: _lag(found) for service, found in lags.items()},
        **await _ledger(wanted),
        "halts": [control.scope for control in halts.active(now())],
    }


async def _lags(wanted: LedgerSettings, service: str, topic: Topic) -> dict[int, PartitionLag]:
    prefix = wanted.topic_prefix
    reader = LagReader(wanted.kafka, group=group_id(prefix, service), topic=topic.full_name(prefix))
    return dict(sorted((await with_retries(reader.read)).items()))


def _partitions(fetchers: Mapping[int, PartitionLag], at: datetime) -> list[dict[str, Any]]:
    """Of `gsc.batches`, as their owners tell it; an owner that is silent while there is work is STALLED."""
    standings = {number: status_of(lag, at) for number, lag in fetchers.items()}
    return [
        {
            "partition": number,
            "state": found.state,
            "lag": fetchers[number].lag,
            "reason": found.reason,
            "until": msgspec.to_builtins(found.until),
            "told_at": msgspec.to_builtins(found.at),
        }
        for number, found in standings.items()
    ]


def _lag(lags: Mapping[int, PartitionLag]) -> dict[int, int]:
    return {number: lag.lag for number, lag in lags.items()}


async def _ledger(wanted: LedgerSettings) -> dict[str, Any]:
    async with connection(wanted.postgres_dsn.get_secret_value(), application="gsc-stream") as conn, database_errors():
        pages = dict(await (await conn.execute("select state, count(*) from gsc.pages group by state")).fetchall())
        days = "select count(complete_generation), count(*) filter (where truncated) from gsc.days"
        complete, truncated = await (await conn.execute(days)).fetchone() or (0, 0)
    return {"pages": pages, "days": {"complete": complete, "truncated": truncated}}


def _show(told: dict[str, Any]) -> None:
    lag = told["lag"]
    rows = [
        (item["partition"], item["state"], item["lag"], lag["sink"].get(item["partition"], "-"), _why(item))
        for item in told["partitions"]
    ]
    totals = ("all", "", sum(lag["fetcher"].values()), sum(lag["sink"].values()), "")
    print_table("Partitions", ("partition", "state", "batches behind", "results behind", "why"), [*rows, totals])
    click.echo(f"requests not planned yet: {sum(lag['producer'].values())}")
    print_table("Pages", ("state", "pages"), sorted(told["pages"].items()))
    click.echo(f"days complete: {told['days']['complete']}, of them truncated by Google: {told['days']['truncated']}")
    click.echo(f"halts: {', '.join(told['halts']) or 'none'}")


def _why(item: dict[str, Any]) -> str:
    return f"{item['reason']}, until {item['until']}" if item["until"] else str(item["reason"])
