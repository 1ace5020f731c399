"""`gsc-stream topics`: create or check Kafka's topics."""

import click

from cli.context import read_environment, run
from cli.options import json_option
from cli.output import print_json
from pipeline.contracts.topics import ALL
from pipeline.kafka_admin import check_topics, create_topics
from pipeline.settings import KafkaSettings
from pipeline.startup_checks import require_kafka


@click.command()
@click.option("--check", is_flag=True, help="Only report differences; exit 1 if there are any.")
@click.option(
    "--replication",
    default=-1,
    type=click.IntRange(-1, 100),
    show_default="the broker's default",
    help="Replication factor of new topics.",
)
@json_option
def topics(check: bool, replication: int, as_json: bool) -> None:
    """Create the topics that are missing."""
    settings = read_environment(KafkaSettings)
    run(require_kafka(settings))
    if check:
        problems = run(check_topics(settings.kafka, settings.topic_prefix))
        lines = problems or [f"all {len(ALL)} topics are as expected"]
        print_json({"problems": problems}) if as_json else click.echo("\n".join(lines))
        raise SystemExit(1 if problems else 0)
    created = run(create_topics(settings.kafka, settings.topic_prefix, replication=replication))
    if as_json:
        print_json({"created": created})
    else:
        click.echo(f"created: {', '.join(created) or 'none were missing'}")
