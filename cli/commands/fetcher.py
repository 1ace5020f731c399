"""`gsc-stream fetcher`: the service, in the foreground."""

import click


@click.command()
def fetcher() -> None:
    """Run a fetcher in the foreground until SIGTERM.

    \b
    Example: GSC_HTTP_PORT=8081 gsc-stream fetcher
    """
    from fetcher.__main__ import main

    main()
