"""`gsc-stream migrate | topics | check`: what has to be there before the services start."""

from collections.abc import Awaitable, Callable

import click

from cli.output import OperatorSettings, SyncSettings, catalog_of, json_option, print_json, run, settings
from pipeline.catalog import Catalog
from pipeline.contracts.topics import ALL, BATCHES
from pipeline.errors import Invalid, PipelineError, Retryable
from pipeline.kafka_admin import check_topics, ensure_topics, reachable
from pipeline.postgres import connection, create_report_views, missing_migrations
from pipeline.postgres import migrate as apply_migrations


@click.command()
@json_option
def migrate(as_json: bool) -> None:
    """Bring the schema up to date, and make the view of every report of the catalog."""
    wanted = settings(SyncSettings)
    catalog = catalog_of(wanted)

    async def work() -> list[str]:
        async with connection(wanted.postgres_dsn.get_secret_value(), application="gsc-stream") as conn:
            applied = await apply_migrations(conn)
            await create_report_views(conn, catalog)
        return applied

    applied = run(work())
    views = [f"gsc.{report.name}" for report in catalog.reports]
    if as_json:
        print_json({"applied": applied, "views": views})
    else:
        click.echo(f"migrations applied: {', '.join(applied) or 'none, all are there'}")
        click.echo(f"views: {', '.join(views)}")


@click.command()
@click.option("--check", is_flag=True, help="Only tell what differs; exit 1 if anything does.")
@click.option("--replication", default=-1, show_default="the broker's default", help="Replicas of new topics.")
@json_option
def topics(check: bool, replication: int, as_json: bool) -> None:
    """Create the topics that are missing."""
    wanted = settings(OperatorSettings)
    run(reachable(wanted.kafka))
    if check:
        problems = run(check_topics(wanted.kafka, wanted.topic_prefix))
        told = problems or [f"all {len(ALL)} topics are as they should be"]
        print_json({"problems": problems}) if as_json else click.echo("\n".join(told))
        raise SystemExit(1 if problems else 0)
    created = run(ensure_topics(wanted.kafka, wanted.topic_prefix, replication=replication))
    if as_json:
        print_json({"created": created})
    else:
        click.echo(f"created: {', '.join(created) or 'none, all are there'}")


@click.command()
@json_option
def check(as_json: bool) -> None:
    """Try settings, catalog, Kafka, PostgreSQL and Google: a line each, exit 1 if any fails."""
    from fetcher.limiting import Limiter
    from fetcher.settings import FetcherSettings

    wanted = settings(SyncSettings)
    calling = settings(FetcherSettings)
    catalog = catalog_of(wanted)

    async def postgres() -> None:
        async with connection(wanted.postgres_dsn.get_secret_value(), application="gsc-stream") as conn:
            if missing := await missing_migrations(conn):
                raise Invalid(f"migrations are missing: {', '.join(missing)}; run `gsc-stream migrate`")

    async def limits() -> None:
        Limiter(calling.limits(catalog), BATCHES.partitions)  # as a fetcher makes it, or refuses to

    async def work() -> dict[str, str | None]:
        return {
            "limits": await _problem(limits),
            "Kafka": await _problem(lambda: reachable(wanted.kafka)),
            "PostgreSQL": await _problem(postgres),
            **await _google(calling.api_root, catalog),
        }

    results = run(work())
    if as_json:
        print_json({name: problem or "ok" for name, problem in results.items()})
    else:
        for name, problem in results.items():
            click.echo(f"{'FAILED' if problem else 'ok':6} {name}{f': {problem}' if problem else ''}")
    raise SystemExit(1 if any(results.values()) else 0)


async def _problem(attempt: Callable[[], Awaitable[None]]) -> str | None:
    try:
        await attempt()
    except PipelineError as error:
        return str(error)
    return None


async def _google(root: str, catalog: Catalog) -> dict[str, str | None]:
    """For each credential, whether it gets a token and sees its properties."""
    from fetcher.credentials import Tokens
    from fetcher.search_console import SearchConsole

    try:
        tokens = Tokens(catalog)
    except Invalid as error:
        return {"credentials": str(error)}
    results: dict[str, str | None] = {}
    async with SearchConsole(root, timeout_s=20, connections=4) as console:
        for credential in catalog.credentials:

            async def listed(name: str = credential.id) -> None:
                seen = await console.sites(await tokens.token(name))
                wanted = [item.url for item in catalog.properties if item.credential == name]
                if hidden := [url for url in wanted if url not in seen]:
                    raise Retryable(f"does not see {', '.join(hidden)}")

            results[f"Google, credential {credential.id}"] = await _problem(listed)
    tokens.close()
    return results
