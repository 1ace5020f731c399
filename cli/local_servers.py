"""What `demo` and `up` share: where the servers come from, errors in a line, and an orderly end."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from urllib.request import getproxies_environment

import click

from cli.output import environment, fail
from lab.errors import LabError
from lab.servers import ServerChoice
from pipeline.errors import PipelineError

kafka_option = click.option("--kafka", help="A Kafka that runs already, HOST:PORT.  [default: start one]")
folder_option = click.option(
    "--folder", default=Path(".gsc-stream"), show_default=True, type=click.Path(path_type=Path), help="Data and logs."
)
postgres_option = click.option("--postgres", help="A PostgreSQL that runs already, as a DSN.  [default: start one]")


def choice(
    kafka: str | None, postgres: str | None, folder: Path | None, client: Mapping[str, str] = MappingProxyType({})
) -> ServerChoice:
    """The servers that the options and `GSC_LAB` ask for."""
    mode = environment("GSC_LAB") or "embedded"
    if mode not in ("embedded", "docker"):
        fail(f"GSC_LAB: embedded or docker, got {mode!r}")
    return ServerChoice(kafka, postgres, folder and folder.absolute(), docker=mode == "docker", client=client)


@contextmanager
def on_this_machine() -> Iterator[None]:
    """What cannot be started is a line on stderr and exit 2; SIGTERM is like Ctrl-C, so that blocks come to their end.

    What listens on this machine is not asked through a proxy, neither by us nor by what we start.
    """

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    if proxies := getproxies_environment():
        direct = filter(None, (proxies.get("no"), "127.0.0.1", "localhost"))
        os.environ["no_proxy"] = ",".join(direct)  # noqa: TID251 - the command line's, for all that it starts
    try:
        yield
    except (LabError, PipelineError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def progress(line: str) -> None:
    """Tell what is going on."""
    click.echo(line, err=True)
