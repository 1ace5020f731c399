"""`gsc-stream config`: every setting in force, and where its value comes from."""

from collections.abc import Iterator, Mapping
from typing import Literal

import click
from msgspec import Struct
from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined

from cli.commands.check import AllSettings
from cli.context import catalog_if_set, environment, fail
from cli.options import json_option
from cli.output import print_json, print_table
from pipeline.contracts.text import did_you_mean
from pipeline.settings import PREFIX, is_secret, kafka_configuration, kafka_variable, settings_problems

HIDDEN = "(hidden)"
_QUOTAS = ("site_qpm", "user_qpm", "qpm", "project")


class Setting(Struct, frozen=True):
    """A setting in force. `value` is null when it is missing and has no default."""

    name: str
    value: str | None
    source: Literal["default", "environment", "catalog", "missing"]


class SettingList(Struct, frozen=True):
    """Every setting in force."""

    settings: list[Setting]


@click.command()
@json_option
def config(as_json: bool) -> None:
    """Show every setting of the services and commands, and where its value comes from; exit 2 when one is wrong.

    Passwords and tokens are not shown. Quotas of the catalog override those of the environment.

    \b
    Example: gsc-stream config --json
    """
    variables = environment()
    settings = [*_kafka(variables), *_variables(variables), *_catalog()]
    if as_json:
        print_json(SettingList(settings))
    else:
        print_table(
            "Settings", ("setting", "value", "from"), [(item.name, item.value, item.source) for item in settings]
        )
    if problems := [*settings_problems(AllSettings, variables), *_unknown(variables)]:
        fail("\n".join(problems))


def _kafka(variables: Mapping[str, str]) -> Iterator[Setting]:
    for name, value in sorted(kafka_configuration(variables).items()):
        yield Setting(kafka_variable(name), HIDDEN if is_secret(name) else value, "environment")


def _variables(variables: Mapping[str, str]) -> Iterator[Setting]:
    for field, info in sorted(AllSettings.model_fields.items()):
        name = PREFIX + field.upper()
        secret = SecretStr in (info.annotation, *getattr(info.annotation, "__args__", ()))
        if field == "kafka":
            continue
        if given := variables.get(name):
            yield Setting(name, HIDDEN if secret else given, "environment")
        elif info.default is PydanticUndefined:
            yield Setting(name, None, "missing")
        else:
            yield Setting(name, _text(info.default), "default")


def _text(default: object) -> str | None:
    return None if default is None or default == "" else str(default)


def _catalog() -> Iterator[Setting]:
    """Return what the catalog overrides."""
    catalog = catalog_if_set()
    if catalog is None:
        return
    for item in catalog.credentials:
        yield from _overrides(f"credentials.{item.id}", item)
    for property_ in catalog.properties:
        yield from _overrides(f"properties.{property_.url}", property_)
    for name, project in catalog.projects.items():
        yield from _overrides(f"projects.{name}", project)


def _overrides(path: str, item: BaseModel) -> Iterator[Setting]:
    for field in _QUOTAS:
        if field in item.model_fields_set and (value := getattr(item, field)) is not None:
            yield Setting(f"{path}.{field}", str(value), "catalog")


def _unknown(variables: Mapping[str, str]) -> Iterator[str]:
    """Return a line for each variable with the prefix that nothing reads."""
    known = {PREFIX + field.upper() for field in AllSettings.model_fields} | {"GSC_LAB"}
    for name in sorted(variables):
        if name.startswith(PREFIX) and name not in known and not name.startswith("GSC_KAFKA_"):
            yield f"{name}: no such setting{did_you_mean(name, known)}"
