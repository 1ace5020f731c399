"""`gsc-stream producer | fetcher | sink`: one service, in the foreground."""

import click


@click.command()
def producer() -> None:
    """Run the planner until SIGTERM."""
    from producer.__main__ import main

    raise SystemExit(main())


@click.command()
def fetcher() -> None:
    """Run a fetcher until SIGTERM."""
    from fetcher.__main__ import main

    raise SystemExit(main())


@click.command()
def sink() -> None:
    """Run a sink until SIGTERM."""
    from sink.__main__ import main

    raise SystemExit(main())
