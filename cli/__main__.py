"""Entry point of the console script."""

import click


@click.group()
def main() -> None:
    """Keep PostgreSQL in step with Google Search Console."""


if __name__ == "__main__":
    main()
