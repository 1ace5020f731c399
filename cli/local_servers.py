"""What `demo`, `up` and `down` share: their options, errors in one line, and a clean stop."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from urllib.request import getproxies_environment

import click

from cli.context import environment_variable, fail
from lab.errors import LabError
from lab.servers import ServerChoice
from pipeline.errors import PipelineError

kafka_option = click.option("--kafka", help="Use a Kafka that is running, HOST:PORT.  [default: start one]")
postgres_option = click.option("--postgres", help="Use a PostgreSQL that is running, as a DSN.  [default: start one]")
folder_option = click.option(
    "--folder",
    default=Path(".gsc-stream"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for data, logs and addresses.",
)


def choose_servers(
    kafka: str | None, postgres: str | None, folder: Path | None, client: Mapping[str, str] = MappingProxyType({})
) -> ServerChoice:
    """Return the servers that the options and `GSC_LAB` select."""
    mode = environment_variable("GSC_LAB") or "embedded"
    if mode not in ("embedded", "docker"):
        fail(f"GSC_LAB: must be embedded or docker, got {mode!r}")
    return ServerChoice(kafka, postgres, folder and folder.absolute(), docker=mode == "docker", client=client)


@contextmanager
def local_servers() -> Iterator[None]:
    """Run a block that starts servers here. What cannot be started is one line on stderr and exit code 2.

    SIGTERM acts like Ctrl-C, so that blocks are left in order. Servers on this machine are not reached through a proxy,
    neither by this process nor by those that it starts.
    """

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    if proxies := getproxies_environment():
        direct = filter(None, (proxies.get("no"), "127.0.0.1", "localhost"))
        os.environ["no_proxy"] = ",".join(direct)  # noqa: TID251 - set for this process and its children
    try:
        yield
    except (LabError, PipelineError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
