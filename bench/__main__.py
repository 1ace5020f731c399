"""`python -m bench quota | halt | backpressure | limiter`."""

import click


@click.group()
def main() -> None:
    """Measure; figures go to bench/results."""


@main.command()
@click.option("--minutes", default=3.0, show_default=True, help="Steady, before members change.")
def quota(minutes: float) -> None:
    """Calls a minute at the quota, through a join, a leave and a SIGKILL; some ten minutes."""
    from bench.quota import run

    run(minutes)


@main.command()
@click.option("--halts", default=50, show_default=True)
def halt(halts: int) -> None:
    """From the command to the last call started; some five minutes."""
    from bench.halt import run

    run(halts)


@main.command()
@click.option("--seconds", default=60.0, show_default=True, help="For how long the sink is stopped.")
def backpressure(seconds: float) -> None:
    """The sink stopped in the middle of a backfill; some three minutes."""
    from bench.backpressure import run

    run(seconds)


@main.command()
@click.option("--checks", default=200_000, show_default=True)
def limiter(checks: int) -> None:
    """The cost of one check; seconds."""
    from bench.limiter import run

    run(checks)


if __name__ == "__main__":
    main()
