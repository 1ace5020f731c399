"""Publishing a control record: what `halt` and `resume` share."""

from collections.abc import Collection
from dataclasses import dataclass

import click

from cli.context import catalog_if_set, current_user, fail, fail_for, load_catalog, read_environment, run
from cli.output import print_json
from pipeline.clock import now
from pipeline.contracts.halts import Halts, build_control, halt_record
from pipeline.contracts.messages import Cause, Control
from pipeline.contracts.text import did_you_mean
from pipeline.control import read_halts
from pipeline.errors import Invalid
from pipeline.publisher import open_publisher, publish_control
from pipeline.settings import CatalogSettings, KafkaSettings
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


@dataclass(frozen=True)
class HaltFilter:
    """Selects active halts: those that agree with every field that is given."""

    cause: Cause | None = None
    kind: str | None = None
    credential: str | None = None
    """The halts of a credential and of its properties in the catalog."""

    @property
    def is_set(self) -> bool:
        """Whether a field is given."""
        return self != HaltFilter()

    def matches(self, control: Control, scopes: Collection[str]) -> bool:
        """Whether a halt is selected; `scopes` are those of the credential."""
        return (
            self.cause in (None, control.cause)
            and self.kind in (None, control.scope.partition(":")[0])
            and (self.credential is None or control.scope in scopes)
        )


def resume_halts(selection: HaltFilter, reason: str) -> list[Control]:
    """Resume every active halt that is selected, and return the records."""
    settings = read_environment(KafkaSettings)
    scopes = _scopes_of_credential(selection.credential) if selection.credential else ()
    active = run(_read_halts(settings)).active(now())
    controls = [
        _control({"scope": halt.scope, "state": "running", "reason": reason})
        for halt in active
        if selection.matches(halt, scopes)
    ]
    run(_publish(settings, *controls))
    return controls


def _scopes_of_credential(credential: str) -> set[str]:
    """Return the scopes of a credential and of its properties; exit with 2 when the catalog lacks it."""
    catalog = load_catalog(read_environment(CatalogSettings))
    if unknown := catalog.unknown_scope(f"credential:{credential}"):
        fail(f"--credential: the catalog has no {unknown}")
    urls = [item.url for item in catalog.properties if item.credential == credential]
    return {f"credential:{credential}", *(f"property:{url}" for url in urls)}


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


async def _publish(settings: KafkaSettings, *controls: Control) -> None:
    await require_topics(settings)
    async with open_publisher(settings.kafka, "gsc-stream") as publisher:
        for control in controls:
            await publish_control(publisher, settings.topic_prefix, control)


def print_control(control: Control, as_json: bool) -> None:
    """Print the record."""
    if as_json:
        print_json(halt_record(control))
    else:
        click.echo(f"{'halted' if control.state == 'halted' else 'resumed'} {control.scope}")
