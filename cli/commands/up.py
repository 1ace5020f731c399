"""`gsc-stream up`: run the whole pipeline on this machine, on servers that it starts."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event
from typing import Any

import click
import msgspec

from cli.context import fail
from cli.local_servers import choose_servers, folder_option, kafka_option, local_servers, postgres_option
from cli.options import json_option
from cli.output import log_progress, print_json
from lab.embedded import READY_S, Embedded, Plan, SearchConsoleApi, find_problems, is_ready, running_embedded
from lab.processes import PYTHON, ProcessWatch
from lab.run_folder import (
    SHELL_FILE,
    STOP_TIMEOUT_S,
    Endpoints,
    current_endpoints,
    export_lines,
    lock_holder,
    make_folder,
)
from lab.scenario import Scenario
from pipeline.settings import PREFIX, kafka_configuration

POLL_EVERY_S = 0.2
RESTART = signal.SIGUSR1
"""The signal on which the process that runs the pipeline starts again what has ended."""
SIMULATED = Scenario(properties=4, credentials=2, rows=300, full_days=False)
"""The simulated company of `--simulated`."""
TRY_NEXT = (
    "gsc-stream check",
    "gsc-stream sync --all --days 10 --wait",
    "gsc-stream status",
)
_SET_HERE = (
    "GSC_KAFKA_BOOTSTRAP_SERVERS", "GSC_POSTGRES_DSN", "GSC_CATALOG", "GSC_API_ROOT", "GSC_HTTP_PORT", "GSC_LAB",
)  # fmt: skip
"""Settings that `up` sets itself: servers, ports and catalog."""


@click.command()
@click.option(
    "--simulated", is_flag=True, help="Copy from a simulated company instead of Google: no account is needed."
)
@click.option(
    "--catalog",
    envvar="GSC_CATALOG",
    type=click.Path(path_type=Path),
    help="File with credentials, properties and reports.  [default: $GSC_CATALOG]",
)
@click.option(
    "--api-root",
    envvar="GSC_API_ROOT",
    default="https://searchconsole.googleapis.com",
    show_default=True,
    help="Root of the Search Console API.",
)
@click.option("--foreground", is_flag=True, help="Do not detach; stop on Ctrl-C or SIGTERM.")
@folder_option
@kafka_option
@postgres_option
@json_option
def up(foreground: bool, as_json: bool, folder: Path, **options: Any) -> None:
    """Start Kafka, PostgreSQL and the services here, and leave them running until `gsc-stream down`.

    Data, ports and logs stay in the folder. The services receive your GSC_... settings and proxy variables. While the
    pipeline runs, the same command starts the services again that have ended.

    \b
    Examples:
      gsc-stream up --simulated
      gsc-stream up --catalog catalog.yaml
    """
    folder = folder.absolute()
    with local_servers():
        if pid := lock_holder(folder):
            _print_endpoints(folder, _restart_ended(folder, pid), as_json=as_json)
            return
        plan = _plan(folder, **options)
        if problems := find_problems(plan):
            fail("\n".join(problems))
        if foreground:
            _run_in_foreground(plan, as_json=as_json)
        else:
            _print_endpoints(folder, _start_detached(folder), as_json=as_json)


def _plan(folder: Path, *, kafka: str | None, postgres: str | None, **source: Any) -> Plan:
    given = {name: value for name, value in os.environ.items() if name.startswith(PREFIX) and value}  # noqa: TID251
    # Client settings are for the user's own Kafka; the embedded one needs none.
    client = {name: given.pop(name) for name in list(given) if name.startswith("GSC_KAFKA_") and name not in _SET_HERE}
    settings = {name: value for name, value in given.items() if name not in _SET_HERE} | (client if kafka else {})
    servers = choose_servers(kafka, postgres, folder, kafka_configuration(client))
    return Plan(_source(**source), folder, servers, settings)


def _source(*, simulated: bool, catalog: Path | None, api_root: str) -> SearchConsoleApi | Scenario:
    if simulated:
        return SIMULATED
    if catalog is None:
        fail("--catalog: missing; or use --simulated to copy from a simulated company", field="--catalog")
    return SearchConsoleApi(api_root, catalog.absolute())


def _run_in_foreground(plan: Plan, *, as_json: bool) -> None:
    requested = Event()
    signal.signal(RESTART, lambda *_: requested.set())
    try:
        with running_embedded(plan, log_progress) as embedded:
            _print_endpoints(plan.folder, embedded.endpoints, as_json=as_json)
            _watch(embedded, requested)
    except KeyboardInterrupt:
        log_progress("stopped")


def _watch(embedded: Embedded, requested: Event) -> None:
    """Report what ends, and start it again on request, until a server ends; then exit with 1."""
    watch = ProcessWatch(embedded.restartable, log_progress)
    while not (ended := embedded.ended_servers()):
        watch.report_ended()
        if requested.is_set():
            requested.clear()
            watch.restart_ended()
        Event().wait(POLL_EVERY_S)
    fail("\n".join(ended), 1)


def _restart_ended(folder: Path, pid: int) -> Endpoints:
    """Have a pipeline that runs start again what has ended, and wait until every service is ready."""
    endpoints = current_endpoints(folder)
    if endpoints is None:
        fail(f"{folder}: process {pid} is starting or stopping; its log: {folder / 'up.log'}", 1)
    log_progress("Already running. To start with other settings, run `gsc-stream down` first.")
    os.kill(pid, RESTART)
    deadline = time.monotonic() + READY_S
    while late := [name for name, url in endpoints.http.items() if not is_ready(url)]:
        if time.monotonic() > deadline:
            fail(f"not ready after {READY_S:.0f} s: {', '.join(late)}; see {folder / 'up.log'}", 1)
        time.sleep(POLL_EVERY_S)
    return endpoints


def _start_detached(folder: Path) -> Endpoints:
    """Start this command with --foreground in a new session, which no terminal ends, and wait until it is ready."""
    make_folder(folder)
    argv = [*PYTHON, "-m", "cli", *sys.argv[1:], "--foreground"]
    with (folder / "up.log").open("wb") as log:
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
        )
    with (folder / "up.log").open(encoding="utf-8", errors="replace") as lines:
        try:
            while not (endpoints := current_endpoints(folder)) and child.poll() is None:
                time.sleep(POLL_EVERY_S)
                click.echo(lines.read(), err=True, nl=False)
        except KeyboardInterrupt:
            child.terminate()
            child.wait(STOP_TIMEOUT_S)
            raise
        if not endpoints:
            click.echo(lines.read(), err=True, nl=False)
            raise SystemExit(child.returncode)
    return endpoints


def _print_endpoints(folder: Path, endpoints: Endpoints, *, as_json: bool) -> None:
    if as_json:
        print_json({"folder": str(folder), **msgspec.to_builtins(endpoints)})
        return
    click.echo("The pipeline is running. Its addresses, for your shell:")
    for line in export_lines(endpoints):
        click.echo(f"  {line}")
    click.echo("What to try next:")
    click.echo(f"  . {shlex.quote(str(folder / SHELL_FILE))}    # sets these addresses")
    for command in TRY_NEXT:
        click.echo(f"  {command}")
    click.echo("HTTP: /live, /ready and /metrics; the producer also serves /v1/... (/openapi.json describes it):")
    for name, url in endpoints.http.items():
        click.echo(f"  {name:8} {url}")
    click.echo(f"Data and logs: {folder}")
    click.echo(f"To stop it: gsc-stream down --folder {shlex.quote(str(folder))}")
