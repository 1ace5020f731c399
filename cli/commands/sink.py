"""`gsc-stream sink`: the service, in the foreground."""

import click


@click.command()
def sink() -> None:
    """Run a sink in the foreground until SIGTERM."""
    from sink.__main__ import main

    main()
