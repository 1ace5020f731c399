"""What credentials can read, as Search Console lists it."""

from collections.abc import Iterable, Mapping

from cli.accesses import Listing
from fetcher.credentials import AccessTokens
from fetcher.search_console import SearchConsole
from fetcher.settings import GoogleSettings
from fetcher.token_hosts import TokenHosts
from pipeline.catalog import Credential
from pipeline.errors import PipelineError

TIMEOUT_S = 20.0


async def permissions_of(search_console: SearchConsole, credential: Credential, hosts: TokenHosts) -> Mapping[str, str]:
    """Return the permission levels of a credential by property. Raises PipelineError."""
    tokens = AccessTokens([credential], hosts)
    try:
        return await search_console.sites(await tokens.token(credential.id))
    finally:
        tokens.close()


async def list_properties(settings: GoogleSettings, credentials: Iterable[Credential]) -> list[Listing]:
    """Return the properties of every credential, in order."""
    hosts = settings.allowed_token_hosts
    async with SearchConsole(settings.api_root, timeout_s=TIMEOUT_S, connections=4) as search_console:
        return [await _listing(search_console, credential, hosts) for credential in credentials]


async def _listing(search_console: SearchConsole, credential: Credential, hosts: TokenHosts) -> Listing:
    try:
        return Listing(credential, await permissions_of(search_console, credential, hosts))
    except PipelineError as error:
        return Listing(credential, {}, "; ".join(str(error).splitlines()))
