"""`gsc-stream topics`: create or check Kafka's topics."""

import asyncio

import click

from cli.context import read_environment, run
from cli.options import json_option
from cli.output import print_json
from pipeline.clock import monotonic
from pipeline.contracts.topics import ALL, BATCHES
from pipeline.errors import Retryable
from pipeline.kafka_admin import check_topics, create_topics
from pipeline.process import StartError
from pipeline.settings import KafkaSettings
from pipeline.startup_checks import require_kafka

RETRY_S = 2.0


@click.command()
@click.option("--check", is_flag=True, help="Only report differences; exit 1 if there are any.")
@click.option(
    "--replication",
    default=-1,
    type=click.IntRange(-1, 100),
    show_default="the broker's default",
    help="Replication factor of new topics.",
)
@click.option(
    "--partitions",
    type=click.IntRange(1, 1000),
    show_default=f"{BATCHES.partitions}",
    help="Partitions of new topics of batches and results: the most fetchers and sinks that can work.",
)
@click.option(
    "--wait", default=0, type=click.IntRange(0), help="Seconds to wait for a broker that does not answer yet."
)
@json_option
def topics(check: bool, replication: int, partitions: int | None, wait: int, as_json: bool) -> None:
    """Create the topics that are missing.

    \b
    Examples:
      gsc-stream topics --replication 3
      gsc-stream topics --check
    """
    settings = read_environment(KafkaSettings)
    run(_require_kafka(settings, wait))
    if check:
        problems = run(check_topics(settings.kafka, settings.topic_prefix))
        lines = problems or [f"all {len(ALL)} topics are as expected"]
        print_json({"problems": problems}) if as_json else click.echo("\n".join(lines))
        raise SystemExit(1 if problems else 0)
    created = run(create_topics(settings.kafka, settings.topic_prefix, replication=replication, partitions=partitions))
    if as_json:
        print_json({"created": created})
    else:
        click.echo(f"created: {', '.join(created) or 'none were missing'}")


async def _require_kafka(settings: KafkaSettings, wait_s: float) -> None:
    """Return when a broker answers. Raises StartError when none does within the time, or a setting is refused."""
    end = monotonic() + wait_s
    while True:
        try:
            return await require_kafka(settings)
        except StartError as error:
            if not isinstance(error.__cause__, Retryable) or monotonic() >= end:
                raise
            click.echo(f"waiting for Kafka: {error}", err=True)
            await asyncio.sleep(RETRY_S)
