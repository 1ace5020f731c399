"""`gsc-stream producer`: the service, in the foreground."""

import click


@click.command()
def producer() -> None:
    """Run the producer in the foreground until SIGTERM.

    \b
    Example: GSC_HTTP_PORT=8081 gsc-stream producer
    """
    from producer.__main__ import main

    main()
