"""`gsc-stream check`: what the services will find when they start."""

from collections.abc import Awaitable, Callable, Sequence

import click

from cli.context import load_catalog, read_environment, run
from cli.google import TIMEOUT_S, permissions_of
from cli.options import json_option
from cli.output import print_json
from fetcher.search_console import UNVERIFIED, SearchConsole
from fetcher.settings import FetcherSettings
from fetcher.token_hosts import TokenHosts
from pipeline.catalog import Catalog, CatalogError, Credential
from pipeline.contracts.topics import BATCHES
from pipeline.errors import PipelineError, Retryable
from pipeline.process import StartError
from pipeline.startup_checks import require_schema, require_topics
from producer.settings import ProducerSettings
from sink.settings import SinkSettings


class AllSettings(ProducerSettings, FetcherSettings, SinkSettings):  # type: ignore[misc]  # of pydantic's plugin
    """The settings of every service."""


@click.command()
@json_option
def check(as_json: bool) -> None:
    """Check settings, catalog, Kafka, PostgreSQL and Google: one line each; exit 1 if a check fails.

    \b
    Example: gsc-stream check && gsc-stream sync --all --days 10
    """
    settings = read_environment(AllSettings)
    catalog = load_catalog(settings)
    problems = {"settings": None, "catalog": None, **run(_problems(settings, catalog))}
    if as_json:
        print_json({"ok": not any(problems.values()), "checks": [_fields(*item) for item in problems.items()]})
    else:
        for name, problem in problems.items():
            click.echo(f"{'failed' if problem else 'ok':6} {name}{f': {problem}' if problem else ''}")
    raise SystemExit(1 if any(problems.values()) else 0)


def _fields(name: str, problem: str | None) -> dict[str, object]:
    check_, _, credential = name.partition(", credential ")
    return {"check": check_.lower(), "credential": credential or None, "ok": problem is None, "problem": problem}


async def _problems(settings: AllSettings, catalog: Catalog) -> dict[str, str | None]:
    problems = {
        "limits": "; ".join(settings.limits(catalog).unserved(BATCHES.partitions)) or None,
        "Kafka": await _problem(lambda: require_topics(settings)),
        "PostgreSQL": await _problem(lambda: require_schema(settings, "gsc-stream")),
    }
    async with SearchConsole(settings.api_root, timeout_s=TIMEOUT_S, connections=4) as search_console:
        for credential in catalog.credentials:
            name = f"Google, credential {credential.id}"
            urls = [item.url for item in catalog.properties if item.credential == credential.id]
            problems[name] = await _problem_of_credential(
                search_console, settings.allowed_token_hosts, credential, urls
            )
    # Most errors begin with the name of what failed, as the line does.
    return {name: text and text.removeprefix(f"{name.rpartition(', ')[2]}: ") for name, text in problems.items()}


async def _problem(attempt: Callable[[], Awaitable[None]]) -> str | None:
    """Return what is wrong, in one line, or None."""
    try:
        await attempt()
    except (PipelineError, StartError, CatalogError) as error:
        return "; ".join(str(error).splitlines())
    return None


async def _problem_of_credential(
    search_console: SearchConsole, hosts: TokenHosts, credential: Credential, urls: Sequence[str]
) -> str | None:
    """Return why the credential gets no access token or cannot read its properties, or None."""

    async def attempt() -> None:
        permissions = await permissions_of(search_console, credential, hosts)
        if missing := [url for url in urls if permissions.get(url, UNVERIFIED) == UNVERIFIED]:
            raise Retryable(f"cannot read {', '.join(missing)}")

    return await _problem(attempt)
