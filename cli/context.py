"""What all commands share: settings from the environment, the catalog, and errors in one line with an exit code."""

import asyncio
import getpass
import os
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from lab.errors import LabError
from pipeline.catalog import Catalog, CatalogError
from pipeline.catalog_file import read_catalog
from pipeline.errors import Invalid, PipelineError
from pipeline.process import EXIT_USAGE, StartError, load_settings
from pipeline.settings import CatalogSettings, KafkaSettings, PostgresSettings, Settings

S = TypeVar("S", bound=Settings)
T = TypeVar("T")


class LedgerSettings(KafkaSettings, PostgresSettings):
    """Settings of commands that use Kafka and read the ledger."""


class SyncSettings(LedgerSettings, CatalogSettings):
    """Settings of commands that use everything except Google."""


def read_environment(model: type[S]) -> S:
    """Return the settings of a command; on errors print one line per problem and exit with 2."""
    return load_settings(model, os.environ)  # noqa: TID251 - the command line reads it here only


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
    except (PipelineError, StartError, CatalogError, LabError) as error:
        fail(str(error))


def fail(text: str, code: int = EXIT_USAGE) -> NoReturn:
    """Print an error to stderr and exit."""
    click.echo(text, err=True)
    raise SystemExit(code)


def fail_for(error: Invalid, fields: Mapping[str, Any]) -> NoReturn:
    """Print an error of a field with the value that the user gave, and exit with 2."""
    value = fields.get(error.field or "")
    fail(str(error) if value is None else f"{error}, got {value!r}")
