"""`gsc-stream status`: how far everything is."""

import time
from typing import Any

import click

from cli.output import LedgerSettings, json_option, print_json, print_table, run, settings
from pipeline.clock import now
from pipeline.contracts.topics import BATCHES, RESULTS, Topic
from pipeline.control import ControlWatcher
from pipeline.kafka import group_id
from pipeline.kafka_admin import LagReader
from pipeline.postgres import connection, told_as_flows
from pipeline.retrying import with_retries
from pipeline.running import require_schema, require_topics

WATCH_S = 2.0


@click.command()
@click.option("--watch", is_flag=True, help="Again every two seconds, until Ctrl-C.")
@json_option
def status(watch: bool, as_json: bool) -> None:
    """Show lag, pages by state and halts."""
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
    watcher = ControlWatcher(wanted.kafka, wanted.topic_prefix)
    await watcher.start()
    await watcher.close()
    async with connection(wanted.postgres_dsn.get_secret_value(), application="gsc-stream") as conn, told_as_flows():
        pages = dict(await (await conn.execute("select state, count(*) from gsc.pages group by state")).fetchall())
        days = "select count(complete_generation), count(*) filter (where truncated) from gsc.days"
        complete, truncated = await (await conn.execute(days)).fetchone() or (0, 0)
    return {
        "lag": {
            "fetcher": await _lag(wanted, "fetcher", BATCHES),
            "sink": await _lag(wanted, "sink", RESULTS),
        },
        "pages": pages,
        "days": {"complete": complete, "truncated": truncated},
        "halts": [control.scope for control in watcher.halts.active(now())],
    }


async def _lag(wanted: LedgerSettings, service: str, topic: Topic) -> dict[int, int]:
    prefix = wanted.topic_prefix
    reader = LagReader(wanted.kafka, group=group_id(prefix, service), topic=topic.full_name(prefix))
    return {number: partition.lag for number, partition in sorted((await with_retries(reader.read)).items())}


def _show(told: dict[str, Any]) -> None:
    lag = told["lag"]
    rows = [(number, lag["fetcher"].get(number, "-"), lag["sink"].get(number, "-")) for number in lag["fetcher"]]
    print_table(
        "Lag in messages", ("partition", "fetcher", "sink"), [*rows, ("all", *(sum(lag[s].values()) for s in lag))]
    )
    print_table("Pages", ("state", "pages"), sorted(told["pages"].items()))
    click.echo(f"days complete: {told['days']['complete']}, of them truncated by Google: {told['days']['truncated']}")
    click.echo(f"halts: {', '.join(told['halts']) or 'none'}")
