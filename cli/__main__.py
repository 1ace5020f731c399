"""Entry point of the console script `gsc-stream`."""

import logging

import click

from cli import demo, halting, preparing, services, status, syncing
from pipeline.settings import Settings
from pipeline.telemetry import configure_logging


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gsc-stream")
def main() -> None:
    """Keep PostgreSQL in step with Google Search Console. Settings come from GSC_... variables."""
    # On stderr: what a command prints is for scripts. A service sets up its log anew, by its settings.
    configure_logging(Settings(), "gsc-stream")
    # What a command cannot do it says itself.
    logging.getLogger("librdkafka").setLevel(logging.CRITICAL)


for command in (
    services.producer,
    services.fetcher,
    services.sink,
    preparing.migrate,
    preparing.topics,
    preparing.check,
    syncing.sync,
    status.status,
    halting.halt,
    halting.resume,
    halting.halts,
    demo.up,
    demo.demo,
):
    main.add_command(command)

if __name__ == "__main__":
    main()
