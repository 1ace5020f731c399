"""Command line of the benchmarks: `python -m bench NAME`; `--help` lists them."""

import click


@click.group()
def main() -> None:
    """Run a benchmark, print its figures as JSON, and write them to bench/results."""


@main.command()
@click.option("--minutes", default=3.0, show_default=True, help="Duration of the phase before the first rebalance.")
def quota(minutes: float) -> None:
    """Measure calls per minute at the quota, through a join, a leave and a SIGKILL (about 10 minutes)."""
    from bench.quota import run

    run(minutes)


@main.command()
@click.option("--halts", default=50, show_default=True, help="Number of halts by HTTP.")
def halt(halts: int) -> None:
    """Measure the time from a halt to the last call that starts (about 5 minutes)."""
    from bench.halt import run

    run(halts)


@main.command()
@click.option("--seconds", default=60.0, show_default=True, help="Duration of the sink's outage.")
def backpressure(seconds: float) -> None:
    """Measure queue, lag and memory while the sink is stopped during a backfill (about 3 minutes)."""
    from bench.backpressure import run

    run(seconds)


@main.command()
@click.option("--minutes", default=3.0, show_default=True, help="Duration of each trouble.")
def isolation(minutes: float) -> None:
    """Measure five credentials at their quota while a sixth is in trouble of seven kinds (about 30 minutes)."""
    from bench.isolation import run

    run(minutes)


@main.command()
@click.option("--checks", default=200_000, show_default=True, help="Number of checks.")
def limiter(checks: int) -> None:
    """Measure the CPU time of a check of the rate limiter (a few seconds)."""
    from bench.limiter import run

    run(checks)


@main.command()
def silence() -> None:
    """Measure what happens when PostgreSQL, then Kafka, goes silent (about 6 minutes)."""
    from bench.silence import run

    run()


@main.command()
@click.option("--days", default=300, show_default=True, help="Days of each of two properties.")
@click.option("--rows", default=3000, show_default=True, help="Average rows of a page.")
@click.option("--latency", default=0.2, show_default=True, help="Seconds of a call.")
def latency(days: int, rows: int, latency: float) -> None:
    """Measure the time from the API's answer to the committed page at half load (about 3 minutes)."""
    from bench.latency import run

    run(days, rows, latency)


@main.command()
@click.option("--pages", default=1_000_000, show_default=True, help="Number of pages, at least.")
def planning(pages: int) -> None:
    """Measure a request that plans a million pages, and the outbox with as many pending (about 5 minutes)."""
    from bench.planning import run

    run(pages)


@main.command()
@click.option("--largest", default=1_100_000, show_default=True, help="Leave out cases of more pages than this.")
def growth(largest: int) -> None:
    """Measure what a page costs with few and many properties, fetchers and pending pages (about 25 minutes)."""
    from bench.growth import run

    run(largest)


@main.command()
@click.option("--days", default=30, show_default=True, help="Number of days.")
@click.option("--rows", default=1500, show_default=True, help="Average rows of a day of search type web.")
@click.option("--latency", default=0.2, show_default=True, help="Seconds of a call.")
def peers(days: int, rows: int, latency: float) -> None:
    """Measure the same days by other tools, each in an environment of its own (about 10 minutes)."""
    from bench.peers import run

    run(days, rows, latency)


@main.command()
@click.option("--pages", default=24, show_default=True, help="Number of pages of 25,000 rows for each case.")
def sink(pages: int) -> None:
    """Measure the sink beside COPY and other ways to write the same rows (about 2 minutes)."""
    from bench.sink import run

    run(pages)


@main.command()
@click.option("--repeats", default=15, show_default=True, help="Measurements of each stage.")
def page(repeats: int) -> None:
    """Measure the fetcher's CPU time for a full page: decompress, decode, encode (a few seconds)."""
    from bench.page import run

    run(repeats)


@main.command()
@click.option("--days", default=150, show_default=True, help="Days of the one property.")
@click.option("--rows", default=6300, show_default=True, help="Average rows of a day of the widest report.")
@click.option("--latency", default=0.2, show_default=True, help="Seconds of a call.")
def throughput(days: int, rows: int, latency: float) -> None:
    """Measure rows per second: new days, the same days again, 1 % changed, two of each service (5 minutes)."""
    from bench.throughput import run

    run(days, rows, latency)


if __name__ == "__main__":
    main()
