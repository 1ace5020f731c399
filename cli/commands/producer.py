"""`gsc-stream producer`: the service, in the foreground."""

import click


@click.command()
def producer() -> None:
    """Run the producer in the foreground until SIGTERM."""
    from producer.__main__ import main

    main()
