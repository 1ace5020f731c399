"""What all commands share: settings from the environment, the catalog, and errors in one line with an exit code."""

import asyncio
import getpass
import os
import re
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
import msgspec

from lab.errors import LabError
from pipeline.catalog import Catalog, CatalogError
from pipeline.catalog_file import read_catalog
from pipeline.contracts.resources import ProblemDetails
from pipeline.errors import Invalid, PipelineError
from pipeline.process import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, StartError
from pipeline.settings import CatalogSettings, KafkaSettings, PostgresSettings, Settings, SettingsError, read_settings

JSON_OUTPUT = "gsc_stream.json"
"""Key of the context's `meta`: whether the command was called with --json."""
_OPTIONS = {"properties": "--property", "reports": "--report", "scope": "SCOPE", "priority": "--daily"}
"""Options and arguments that have another name than their field."""

_TITLES = {EXIT_FAILED: "Failed", EXIT_USAGE: "Wrong usage or settings", EXIT_INTERRUPTED: "Interrupted"}

S = TypeVar("S", bound=Settings)
T = TypeVar("T")


class LedgerSettings(KafkaSettings, PostgresSettings):
    """Settings of commands that use Kafka and read the ledger."""


class SyncSettings(LedgerSettings, CatalogSettings):
    """Settings of commands that use everything except Google."""


def read_environment(model: type[S]) -> S:
    """Return the settings of a command; on errors print one line per problem and exit with 2."""
    try:
        return read_settings(model, os.environ)  # noqa: TID251 - the command line reads it here only
    except SettingsError as error:
        fail(str(error))


def environment() -> Mapping[str, str]:
    """Return the environment variables of the command."""
    return os.environ  # noqa: TID251 - the command line reads it here only


def environment_variable(name: str) -> str | None:
    """Return a variable that is not a setting of a service."""
    return os.environ.get(name)  # noqa: TID251 - the command line reads it here only


def load_catalog(settings: CatalogSettings) -> Catalog:
    """Return the catalog; on errors print one line per problem and exit with 2."""
    try:
        return read_catalog(settings.catalog)
    except CatalogError as error:
        fail(str(error))


def catalog_if_set() -> Catalog | None:
    """Return the catalog of GSC_CATALOG, or None when it is not set or not valid."""
    path = environment_variable("GSC_CATALOG")
    try:
        return read_catalog(Path(path)) if path else None
    except CatalogError:
        return None


def project_by_credential() -> Mapping[str, str]:
    """Return the Google Cloud project of each credential, as far as there is a catalog."""
    catalog = catalog_if_set()
    return catalog.project_by_credential if catalog else {}


def current_user() -> str:
    """Return the name of the user who runs the command, for control records. A container's user may have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the latter from Python 3.13 on
        return f"uid {os.getuid()}"


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work. Errors of servers and of the lab are one line on stderr and exit code 2."""
    try:
        return asyncio.run(work)
    except Invalid as error:
        fail(str(error), field=error.field)
    except (PipelineError, StartError, CatalogError, LabError) as error:
        fail(str(error))


def fail(text: str, code: int = EXIT_USAGE, *, field: str | None = None) -> NoReturn:
    """Print an error to stderr and exit. With --json it has the form of an error of the HTTP API.

    `field` is the option or argument that is wrong, if there is one; the text begins with it.
    """
    context = click.get_current_context(silent=True)
    if context is not None and context.meta.get(JSON_OUTPUT):
        problem = ProblemDetails(title=_TITLES[code], detail=text.removeprefix(f"{field}: "), field=field)
        text = msgspec.json.encode(problem).decode()
    click.echo(text, err=True)
    raise SystemExit(code)


def option_of(field: str) -> str:
    """Return the option or argument that sets a field of a request."""
    return _OPTIONS.get(field, f"--{field.replace('_', '-')}")


def with_options(reason: str) -> str:
    """Return the reason of an error with options and arguments in place of the fields that it names in backticks."""
    return re.sub("`([a-z_]+)`", lambda field: option_of(field[1]), reason)


def fail_for(error: Invalid, fields: Mapping[str, Any]) -> NoReturn:
    """Print an error of a field with the option and the value that the user gave, and exit with 2."""
    if error.field is None:
        fail(str(error))
    option, value = option_of(error.field), fields.get(error.field)
    reason = with_options(error.reason)
    about_options = reason != error.reason  # which of them are given is wrong, and no value
    got = "" if about_options or value is None or repr(value) in reason else f", got {value!r}"
    fail(f"{option}: {reason}{got}", field=option)
