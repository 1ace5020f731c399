"""Entry point of the command `gsc-stream`."""

import logging
import pkgutil
from importlib import import_module
from typing import NoReturn

import click

from cli import commands
from pipeline.log import configure_logging
from pipeline.process import EXIT_FAILED, exit_now
from pipeline.settings import Settings


class _Commands(click.Group):
    """The modules of `cli.commands`, each imported when its command is used: `halt` must not wait for Faust."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [module.name.replace("_", "-") for module in pkgutil.iter_modules(commands.__path__)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"cli.commands.{name}"), name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gsc-stream")
def main() -> None:
    """Keep Google Search Console's Search Analytics in PostgreSQL up to date.

    Settings are environment variables with the prefix GSC_; the README lists them. Exit codes: 0 success, 1 failure,
    2 wrong usage or settings, or an unreachable server.
    """
    # Logs go to stderr; stdout is for the output of commands. A service configures its log again from its settings.
    configure_logging(Settings(), "gsc-stream")
    # Commands report errors of Kafka themselves.
    logging.getLogger("librdkafka").setLevel(logging.CRITICAL)


def run_and_exit() -> NoReturn:
    """Run the command, and end the process without the clean-up of Python's modules, which takes up to a second.

    A script that waits for a command, as for `sync --wait`, continues as soon as the work is done.
    """
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else EXIT_FAILED
    exit_now(code)


if __name__ == "__main__":
    run_and_exit()
