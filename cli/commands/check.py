"""`gsc-stream check`: what the services will find when they start."""

from collections.abc import Awaitable, Callable

import click

from cli.output import catalog_of, json_option, print_json, run, settings
from fetcher.credentials import AccessTokens
from fetcher.rate_limiter import RateLimiter
from fetcher.search_console import SearchConsole
from fetcher.settings import FetcherSettings
from pipeline.catalog import Catalog, CatalogError, Credential
from pipeline.contracts.topics import BATCHES
from pipeline.errors import PipelineError, Retryable
from pipeline.process import StartError
from pipeline.startup_checks import require_schema, require_topics
from producer.settings import ProducerSettings
from sink.settings import SinkSettings

GOOGLE_TIMEOUT_S = 20.0


class AllSettings(ProducerSettings, FetcherSettings, SinkSettings):  # type: ignore[misc]  # of pydantic's plugin
    """Those of every service."""


@click.command()
@json_option
def check(as_json: bool) -> None:
    """Try settings, catalog, Kafka, PostgreSQL and Google: a line each, exit 1 if any fails."""
    wanted = settings(AllSettings)
    catalog = catalog_of(wanted)
    problems = {"catalog": None, **run(_problems(wanted, catalog))}
    if as_json:
        print_json({name: problem or "ok" for name, problem in {"settings": None, **problems}.items()})
    else:
        click.echo(_line("ok", "settings", None))
        for name, problem in problems.items():
            click.echo(_line("FAILED" if problem else "ok", name, problem))
    raise SystemExit(1 if any(problems.values()) else 0)


def _line(verdict: str, name: str, text: str | None) -> str:
    return f"{verdict:6} {name}{f': {text}' if text else ''}"


async def _problems(wanted: AllSettings, catalog: Catalog) -> dict[str, str | None]:
    async def limits() -> None:
        RateLimiter(wanted.limits(catalog), BATCHES.partitions)  # as a fetcher makes it, or refuses to

    found = {
        "limits": await _problem(limits),
        "Kafka": await _problem(lambda: require_topics(wanted)),
        "PostgreSQL": await _problem(lambda: require_schema(wanted, "gsc-stream")),
    }
    async with SearchConsole(wanted.api_root, timeout_s=GOOGLE_TIMEOUT_S, connections=4) as console:
        for credential in catalog.credentials:
            found[f"Google, credential {credential.id}"] = await _google(console, catalog, credential)
    # Most texts begin with what they are about, as the line does.
    return {name: text and text.removeprefix(f"{name.rpartition(', ')[2]}: ") for name, text in found.items()}


async def _problem(attempt: Callable[[], Awaitable[None]]) -> str | None:
    """What is wrong, in one line."""
    try:
        await attempt()
    except (PipelineError, StartError, CatalogError) as error:
        return "; ".join(str(error).splitlines())
    return None


async def _google(console: SearchConsole, catalog: Catalog, credential: Credential) -> str | None:
    """Why the credential gets no token, or does not see its properties; or None."""

    async def attempt() -> None:
        tokens = AccessTokens([credential])
        try:
            seen = await console.sites(await tokens.token(credential.id))
        finally:
            tokens.close()
        wanted = [item.url for item in catalog.properties if item.credential == credential.id]
        if hidden := [url for url in wanted if url not in seen]:
            raise Retryable(f"does not see {', '.join(hidden)}")

    return await _problem(attempt)
