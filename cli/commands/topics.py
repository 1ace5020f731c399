"""`gsc-stream topics`: the topics, created or checked."""

import click

from cli.output import OperatorSettings, json_option, print_json, run, settings
from pipeline.contracts.topics import ALL
from pipeline.kafka_admin import check_topics, create_topics
from pipeline.startup_checks import require_kafka


@click.command()
@click.option("--check", is_flag=True, help="Only tell what differs; exit 1 if anything does.")
@click.option(
    "--replication",
    default=-1,
    type=click.IntRange(-1, 100),
    show_default="the broker's default",
    help="Replicas of new topics.",
)
@json_option
def topics(check: bool, replication: int, as_json: bool) -> None:
    """Create the topics that are missing."""
    wanted = settings(OperatorSettings)
    run(require_kafka(wanted))
    if check:
        problems = run(check_topics(wanted.kafka, wanted.topic_prefix))
        told = problems or [f"all {len(ALL)} topics are as they should be"]
        print_json({"problems": problems}) if as_json else click.echo("\n".join(told))
        raise SystemExit(1 if problems else 0)
    created = run(create_topics(wanted.kafka, wanted.topic_prefix, replication=replication))
    if as_json:
        print_json({"created": created})
    else:
        click.echo(f"created: {', '.join(created) or 'none, all are there'}")
