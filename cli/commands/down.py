"""`gsc-stream down`: end what `up` left running."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import click

from cli.local_servers import folder_option
from cli.output import fail, json_option, print_json
from lab.run_folder import lock_holder, wait_until_free

DOWN_S = 90.0


@click.command()
@folder_option
@json_option
def down(folder: Path, as_json: bool) -> None:
    """End what `gsc-stream up` left running; the data stays."""
    folder = folder.absolute()
    pid = lock_holder(folder)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        if not wait_until_free(folder, DOWN_S):
            fail(f"{folder}: process {pid} has not ended within {DOWN_S:.0f} s", 1)
    if as_json:
        print_json({"folder": str(folder), "ended": pid})
    else:
        click.echo(f"stopped; the data is in {folder}" if pid else f"nothing runs in {folder}")
