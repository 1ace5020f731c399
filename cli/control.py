"""Publishing a control record: what `halt` and `resume` share."""

import click

from cli.context import catalog_if_set, current_user, fail, fail_for, read_environment, run
from cli.output import print_json
from pipeline.clock import now
from pipeline.contracts.halts import Halts, build_control, control_fields
from pipeline.contracts.messages import Control
from pipeline.contracts.text import did_you_mean
from pipeline.control import read_halts
from pipeline.errors import Invalid
from pipeline.publisher import open_publisher, publish_control
from pipeline.settings import KafkaSettings
from pipeline.startup_checks import require_topics


def halt_scope(scope: str, reason: str, until: str | None) -> Control:
    """Halt a scope; exit with 2 when an option is wrong.

    A catalog that is set and valid must have the scope. Without one the halt is published all the same: an emergency
    stop needs nothing but Kafka.
    """
    settings = read_environment(KafkaSettings)
    control = _control({"scope": scope, "state": "halted", "reason": reason, "until": until})
    if unknown := _unknown_scope(scope):
        fail(f"SCOPE: {unknown}")
    run(_publish(settings, control))
    return control


def resume_scope(scope: str, reason: str) -> tuple[Control, bool]:
    """Resume a scope. Return its record, and whether it was halted; exit with 2 when there is no such scope."""
    settings = read_environment(KafkaSettings)
    control = _control({"scope": scope, "state": "running", "reason": reason})
    halts = run(_read_halts(settings))
    record = halts.record_of(scope)
    if record is None or record.state == "running":
        if unknown := _unknown_scope(scope):
            fail(f"SCOPE: {unknown}{did_you_mean(scope, [halt.scope for halt in halts.active(now())])}")
        return control, False
    run(_publish(settings, control))
    return control, True


def _control(fields: dict[str, str | None]) -> Control:
    try:
        return build_control(fields, now=now(), actor=current_user())
    except Invalid as error:
        fail_for(error, fields)


def _unknown_scope(scope: str) -> str | None:
    catalog = catalog_if_set()
    unknown = catalog.unknown_scope(scope) if catalog is not None else None
    return unknown and f"the catalog has no {unknown}"


async def _read_halts(settings: KafkaSettings) -> Halts:
    await require_topics(settings)
    return await read_halts(settings.kafka, settings.topic_prefix)


async def _publish(settings: KafkaSettings, control: Control) -> None:
    await require_topics(settings)
    async with open_publisher(settings.kafka, "gsc-stream") as publisher:
        await publish_control(publisher, settings.topic_prefix, control)


def print_control(control: Control, as_json: bool) -> None:
    """Print the record."""
    if as_json:
        print_json(control_fields(control))
    else:
        click.echo(f"{'halted' if control.state == 'halted' else 'resumed'} {control.scope}")
