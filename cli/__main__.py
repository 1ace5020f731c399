"""Entry point of the console script `gsc-stream`."""

import logging
from importlib import import_module

import click

from pipeline.settings import Settings
from pipeline.telemetry import configure_logging

COMMANDS = {
    "producer": "services",
    "fetcher": "services",
    "sink": "services",
    "migrate": "preparing",
    "topics": "preparing",
    "check": "preparing",
    "sync": "syncing",
    "cancel": "cancelling",
    "status": "status",
    "halt": "halting",
    "resume": "halting",
    "halts": "halting",
    "replay": "replaying",
    "reconcile": "reconciling",
    "dead-letters": "burying",
    "retention": "retaining",
    "up": "up",
    "down": "up",
    "demo": "demo",
}
"""Each command, and its module of this package."""


class _Commands(click.Group):
    """Imports a command when it is run: a halt must not wait for the imports of the demo."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = getattr(import_module(f"cli.{COMMANDS[cmd_name]}"), cmd_name.replace("-", "_"))
        return found


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
