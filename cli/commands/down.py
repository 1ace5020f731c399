"""`gsc-stream down`: stop what `up` started."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import click

from cli.context import fail
from cli.local_servers import folder_option
from cli.options import json_option
from cli.output import print_json
from lab.run_folder import STOP_TIMEOUT_S, lock_holder, wait_until_free


@click.command()
@folder_option
@json_option
def down(folder: Path, as_json: bool) -> None:
    """Stop what `gsc-stream up` started. The data stays.

    \b
    Example: gsc-stream down --folder .gsc-stream
    """
    folder = folder.absolute()
    pid = lock_holder(folder)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        if not wait_until_free(folder, STOP_TIMEOUT_S):
            fail(f"{folder}: process {pid} has not ended within {STOP_TIMEOUT_S:.0f} s", 1)
    if as_json:
        print_json({"folder": str(folder), "ended": pid})
    else:
        click.echo(f"stopped; the data is in {folder}" if pid else f"nothing is running in {folder}")
