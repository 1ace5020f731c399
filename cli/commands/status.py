"""`gsc-stream status`: progress and lag, and why anything waits."""

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import click
import msgspec

from cli.context import LedgerSettings, project_by_credential, read_environment, run
from cli.options import json_option
from cli.output import print_json, print_table
from pipeline.clock import now
from pipeline.consumer_lag import LagReader
from pipeline.contracts.partition_status import NOTHING_TO_DO, PartitionStatus, status_of
from pipeline.contracts.records import PartitionLag
from pipeline.contracts.topics import BATCHES, RESULTS, SYNC_REQUESTS, Topic
from pipeline.control import read_halts
from pipeline.kafka import group_id
from pipeline.ledger import days, pages, runs
from pipeline.postgres import REPORT, connection
from pipeline.retry import with_retries
from pipeline.settings import QueueSettings
from pipeline.startup_checks import require_schema, require_topics
from producer.credential_waits import CredentialPages, credential_pages
from producer.ledger_metrics import QueueSources, read_queue

WATCH_EVERY_S = 2.0
NOTHING_PUBLISHED = "no batches: see why the pages of the credentials wait"
"""Instead of `NOTHING_TO_DO` while pages are pending."""
ALL_PLANNED = "every accepted request is planned"


class StatusSettings(LedgerSettings, QueueSettings):
    """Settings of the command."""


@click.command()
@click.option("--watch", is_flag=True, help="Repeat every two seconds, until Ctrl-C.")
@json_option
def status(watch: bool, as_json: bool) -> None:
    """Show the status of each partition and credential, lag, pages by state, and halts.

    The size of a credential's share of the queue is computed from GSC_MAX_QUEUE_SIZE, as in the producer.

    \b
    Example: gsc-stream status --watch
    """
    settings = read_environment(StatusSettings)
    while True:
        current = run(_read_status(settings))
        print_json(current) if as_json else _print_status(current)
        if not watch:
            return
        time.sleep(WATCH_EVERY_S)


async def _read_status(settings: StatusSettings) -> dict[str, Any]:
    await require_topics(settings)
    await require_schema(settings, "gsc-stream")
    halts = (await read_halts(settings.kafka, settings.topic_prefix)).active(now())
    topics = {"producer": SYNC_REQUESTS, "fetcher": BATCHES, "sink": RESULTS}
    lags = {service: await _read_lag(settings, service, topic) for service, topic in topics.items()}
    statuses = {number: status_of(lag, now()) for number, lag in lags["fetcher"].items()}
    async with connection(settings.postgres_dsn.get_secret_value(), application="gsc-stream", limits=REPORT) as conn:
        sources = QueueSources(halts, project_by_credential(), statuses, settings.max_queue_size)
        queue = await read_queue(conn, sources)
        states, day_counts = await pages.count_by_state(conn), await days.count(conn)
        unchanged, unplanned = await pages.count_unchanged(conn), await runs.unplanned(conn)
    return {
        "partitions": _partitions(lags["fetcher"], statuses, pending=bool(queue.groups)),
        "credentials": list(map(_credential, credential_pages(queue))),
        "unplanned": list(map(_unplanned, unplanned)),
        "lag": {service: {number: item.lag for number, item in lag.items()} for service, lag in lags.items()},
        "pages": states,
        "unchanged_pages": unchanged,
        "days": day_counts._asdict(),
        "halts": [control.scope for control in halts],
    }


def _unplanned(item: runs.UnplannedRun) -> dict[str, Any]:
    return {
        "run_id": item.run_id,
        "priority": item.priority,
        "pages": item.cursor.pages if item.cursor else 0,
        "age_s": round(item.age_s),
    }


async def _read_lag(settings: LedgerSettings, service: str, topic: Topic) -> dict[int, PartitionLag]:
    prefix = settings.topic_prefix
    reader = LagReader(settings.kafka, group=group_id(prefix, service), topic=topic.full_name(prefix))
    return dict(sorted((await with_retries(reader.read)).items()))


def _partitions(
    lags: Mapping[int, PartitionLag], statuses: Mapping[int, PartitionStatus], *, pending: bool
) -> list[dict[str, Any]]:
    """Return the status of every partition of `gsc.batches`, as reported by its owner."""
    return [
        {
            "partition": number,
            "state": item.state,
            "lag": lags[number].lag,
            "reason": NOTHING_PUBLISHED if pending and item.reason == NOTHING_TO_DO else item.reason,
            "until": msgspec.to_builtins(item.until),
            "reported_at": msgspec.to_builtins(item.at),
        }
        for number, item in statuses.items()
    ]


def _credential(item: CredentialPages) -> dict[str, Any]:
    return {
        "credential": item.credential,
        "pending": item.pending,
        "published": item.published,
        "oldest_s": round(item.oldest_s),
        "waits_for": item.wait.kind,
        "reason": item.wait.reason,
        "until": msgspec.to_builtins(item.wait.until),
    }


def _print_status(current: dict[str, Any]) -> None:
    lag = current["lag"]
    rows = [
        (item["partition"], item["state"], item["lag"], lag["sink"].get(item["partition"], "-"), _reason(item))
        for item in current["partitions"]
    ]
    totals = ("all", "", sum(lag["fetcher"].values()), sum(lag["sink"].values()), "")
    print_table("Partitions", ("partition", "status", "fetcher lag", "sink lag", "reason"), [*rows, totals])
    columns = ("credential", "pending", "published", "oldest", "waits because")
    print_table("Credentials with unfinished pages", columns, map(_credential_row, current["credentials"]))
    click.echo(f"sync requests not accepted yet: {sum(lag['producer'].values())}")
    runs_ = [(run["run_id"], run["priority"], run["pages"], _age(run["age_s"])) for run in current["unplanned"]]
    print_table("Runs that are not planned yet", ("run", "priority", "pages so far", "age"), runs_, empty=ALL_PLANNED)
    print_table("Pages of the last 30 days' runs", ("state", "pages"), sorted(current["pages"].items()))
    click.echo(f"applied pages that were unchanged, so that no rows were sent: {current['unchanged_pages']}")
    counts = current["days"]
    click.echo(f"complete days: {counts['complete']}, of which truncated by Google: {counts['truncated']}")
    click.echo(f"halts: {', '.join(current['halts']) or 'none'}")


def _credential_row(row: dict[str, Any]) -> tuple[object, ...]:
    return row["credential"], row["pending"], row["published"], _age(row["oldest_s"]), _reason(row)


def _age(seconds: int) -> str:
    return str(timedelta(seconds=seconds))


def _reason(item: dict[str, Any]) -> str:
    return f"{item['reason']}, until {item['until']}" if item["until"] else str(item["reason"])
