"""`gsc-stream sink`: the service, in the foreground."""

import click


@click.command()
def sink() -> None:
    """Run a sink in the foreground until SIGTERM.

    \b
    Example: GSC_HTTP_PORT=8081 gsc-stream sink
    """
    from sink.__main__ import main

    main()
