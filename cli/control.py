"""Publishing a control record: what `halt` and `resume` share."""

import click
import msgspec

from cli.context import catalog_if_set, current_user, fail_for, read_environment, run
from cli.output import print_json
from pipeline.clock import now
from pipeline.contracts.halts import build_control
from pipeline.contracts.messages import Control
from pipeline.errors import Invalid
from pipeline.publisher import open_publisher, publish_control
from pipeline.settings import KafkaSettings
from pipeline.startup_checks import require_topics


def set_state(scope: str, state: str, reason: str, until: str | None) -> Control:
    """Check the options and publish the record; exit with 2 when an option is wrong."""
    settings = read_environment(KafkaSettings)
    fields = {"scope": scope, "state": state, "reason": reason, "until": until}
    try:
        control = build_control(fields, now=now(), actor=current_user())
    except Invalid as error:
        fail_for(error, fields)
    run(_publish(settings, control))
    return control


async def _publish(settings: KafkaSettings, control: Control) -> None:
    await require_topics(settings)
    async with open_publisher(settings.kafka, "gsc-stream") as publisher:
        await publish_control(publisher, settings.topic_prefix, control)


def print_control(control: Control, as_json: bool) -> None:
    """Print the record, and a warning when the catalog lacks its scope. A halt never waits for the catalog."""
    if as_json:
        fields = msgspec.to_builtins(control)
        print_json({name: fields[name] for name in ("scope", "state", "reason", "actor", "at", "until")})
    else:
        click.echo(f"{'halted' if control.state == 'halted' else 'resumed'} {control.scope}")
    catalog = catalog_if_set()
    if catalog is not None and (unknown := catalog.unknown_scope(control.scope)):
        click.echo(f"warning: scope: the catalog has no {unknown}; the record was published anyway", err=True)
