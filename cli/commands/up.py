"""`gsc-stream up`: the whole pipeline with real credentials, on servers of its own."""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from threading import Event
from typing import Any

import click
import msgspec

from cli.local_servers import choice, folder_option, kafka_option, on_this_machine, postgres_option, progress
from cli.output import fail, json_option, print_json
from lab.embedded import Plan, problems_of, running_embedded
from lab.processes import PYTHON
from lab.run_folder import Endpoints, current_endpoints, lock_holder, make_folder
from pipeline.settings import PREFIX, kafka_configuration

LOOK_EVERY_S = 0.2
DOWN_S = 90.0
_OURS = ("GSC_KAFKA_BOOTSTRAP_SERVERS", "GSC_POSTGRES_DSN", "GSC_CATALOG", "GSC_API_ROOT", "GSC_HTTP_PORT", "GSC_LAB")
"""Settings that are not the user's: `up` gives the services the servers, ports and catalog that it has itself."""


@click.command()
@click.option(
    "--catalog",
    required=True,
    envvar="GSC_CATALOG",
    type=click.Path(path_type=Path),
    help="Credentials, properties and reports.  [default: $GSC_CATALOG]",
)
@click.option("--api-root", envvar="GSC_API_ROOT", default="https://searchconsole.googleapis.com", show_default=True)
@click.option("--foreground", is_flag=True, help="Stay, until Ctrl-C or SIGTERM: for a supervisor or a container.")
@folder_option
@kafka_option
@postgres_option
@json_option
def up(foreground: bool, as_json: bool, folder: Path, **options: Any) -> None:
    """Run everything here with real credentials, and leave it running; `gsc-stream down` ends it.

    Data, ports and logs stay in the folder. GSC_... settings and proxies are handed on to the services.
    """
    folder = folder.absolute()
    with on_this_machine():
        plan = _plan(folder, **options)
        if problems := problems_of(plan):
            fail("\n".join(problems))
        if pid := lock_holder(folder):
            _tell_running(folder, pid, as_json=as_json)
        elif foreground:
            _stay(plan, as_json=as_json)
        else:
            _tell(folder, _left_running(folder), as_json=as_json)


def _plan(folder: Path, *, catalog: Path, api_root: str, kafka: str | None, postgres: str | None) -> Plan:
    own = {name: value for name, value in os.environ.items() if name.startswith(PREFIX) and value}  # noqa: TID251
    # How a Kafka of the user's is talked to; the embedded one wants nothing.
    client = {name: own.pop(name) for name in list(own) if name.startswith("GSC_KAFKA_") and name not in _OURS}
    settings = {name: value for name, value in own.items() if name not in _OURS} | (client if kafka else {})
    servers = choice(kafka, postgres, folder, kafka_configuration(client))
    return Plan(catalog.absolute(), api_root, folder, servers, settings)


def _stay(plan: Plan, *, as_json: bool) -> None:
    try:
        with running_embedded(plan, progress) as (services, reach):
            _tell(plan.folder, reach, as_json=as_json)
            while not (ended := services.ended()):
                Event().wait(LOOK_EVERY_S)
            fail("\n".join(ended), 1)
    except KeyboardInterrupt:
        progress("stopped")


def _left_running(folder: Path) -> Endpoints:
    """Start ourselves in the foreground of a session of its own, which no terminal ends, and wait until it is ready."""
    make_folder(folder)
    argv = [*PYTHON, "-m", "cli", *sys.argv[1:], "--foreground"]
    with (folder / "up.log").open("wb") as log:
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
        )
    with (folder / "up.log").open(encoding="utf-8", errors="replace") as told:
        try:
            while not (reach := current_endpoints(folder)) and child.poll() is None:
                time.sleep(LOOK_EVERY_S)
                click.echo(told.read(), err=True, nl=False)
        except KeyboardInterrupt:
            child.terminate()
            child.wait(DOWN_S)
            raise
        if not reach:
            click.echo(told.read(), err=True, nl=False)
            raise SystemExit(child.returncode)
    return reach


def _tell_running(folder: Path, pid: int, *, as_json: bool) -> None:
    reach = current_endpoints(folder)
    if reach is None:
        fail(f"{folder}: process {pid} is starting, or ending; its log: {folder / 'up.log'}", 1)
    progress("It runs already; `gsc-stream down` first, to start it with other settings.")
    _tell(folder, reach, as_json=as_json)


def _tell(folder: Path, reach: Endpoints, *, as_json: bool) -> None:
    if as_json:
        print_json({"folder": str(folder), **msgspec.to_builtins(reach)})
        return
    click.echo("The pipeline runs. Its addresses, for your shell:")
    for name, value in reach.environment.items():
        click.echo(f"  export {name}={shlex.quote(value)}")
    click.echo("Then: gsc-stream check; gsc-stream sync --all --start YYYY-MM-DD --end YYYY-MM-DD --wait")
    click.echo("/live, /ready, /metrics, and of the producer /v1/syncs, /v1/runs and /v1/halts:")
    for name, url in reach.http.items():
        click.echo(f"  {name:8} {url}")
    click.echo(f"Data and logs: {folder}")
    click.echo(f"To end it: gsc-stream down --folder {shlex.quote(str(folder))}")
