"""Entry point of the command `gsc-stream`."""

import logging
from typing import NoReturn

import click

from cli import commands
from cli.groups import LazyGroup, Sections
from pipeline.log import configure_logging
from pipeline.process import EXIT_FAILED, exit_now
from pipeline.settings import Settings

SECTIONS: Sections = {
    "Run it": ("demo", "up", "down", "sync"),
    "Look": ("status", "runs", "halts", "dead-letters", "reconcile", "psql", "export"),
    "Intervene": ("halt", "resume", "cancel", "replay", "retention"),
    "Set up": ("login", "init", "properties", "check", "config", "topics", "migrate"),
    "Services": ("producer", "fetcher", "sink"),
}


@click.group(
    cls=LazyGroup,
    package=commands,
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(package_name="gsc-stream")
def main() -> None:
    """Keep Google Search Console's Search Analytics in PostgreSQL up to date.

    \b
    Examples:
      gsc-stream demo
      gsc-stream sync --all --days 10 --wait
      gsc-stream halt credential:acme --reason "too many calls"
      gsc-stream reconcile --repair

    Settings are environment variables with the prefix GSC_; the README lists them. Exit codes: 0 done, 1 failures,
    2 wrong usage or settings, or an unreachable server, 3 only halted pages are left, 130 interrupted.
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
