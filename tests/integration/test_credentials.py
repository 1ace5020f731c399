"""Credentials of every kind, by google-auth, against the simulator's token endpoints."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from fetcher.credentials import Tokens
from fetcher.search_console import SearchConsole
from lab.search_console.server import Simulator
from lab.search_console.settings import SimulatorSettings, Site, User
from pipeline.catalog import Catalog, Credential, Property
from pipeline.errors import Fatal, Invalid, Retryable
from support.simulator import serving

KINDS = ("service_account", "authorized_user", "external_account")
URL = "sc-domain:example.com"


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    users = tuple(User(id=f"{kind}@example.com", kind=kind) for kind in KINDS)
    site = Site(url=URL, users=tuple(user.id for user in users))
    with serving(SimulatorSettings(sites=(site,), users=users)) as running:
        yield running


def a_catalog(simulator: Simulator, folder: Path, kind: str) -> Catalog:
    user, file, token = f"{kind}@example.com", folder / f"{kind}.json", folder / "token"
    info = simulator.engine.tokens.credential_file(user, simulator.root)
    if kind == "external_account":
        token.write_text(simulator.engine.tokens.subject_token(user))
        info["credential_source"]["file"] = str(token)
    file.write_text(json.dumps(info))
    credential = Credential.model_validate({"id": "acme", "type": kind, "file": file})
    return Catalog(credentials=(credential,), properties=(Property(url=URL, credential="acme"),))


@pytest.fixture
async def console(simulator: Simulator) -> AsyncIterator[SearchConsole]:
    async with SearchConsole(simulator.root, timeout_s=10, connections=1) as opened:
        yield opened


@pytest.mark.parametrize("kind", KINDS)
async def test_a_token_is_good_kept_and_replaced(
    simulator: Simulator, console: SearchConsole, folder: Path, kind: str
) -> None:
    tokens = Tokens(a_catalog(simulator, folder, kind))
    token = await tokens.token("acme")
    assert await console.sites(token) == [URL]
    assert await tokens.token("acme") == token
    await tokens.replace("acme", token)
    assert await tokens.token("acme") != token
    assert simulator.engine.tokens.issued_count == 2
    tokens.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_revoked_user_is_fatal_for_its_credential(simulator: Simulator, folder: Path, kind: str) -> None:
    tokens = Tokens(a_catalog(simulator, folder, kind))
    simulator.engine.tokens.revoked.add(f"{kind}@example.com")
    with pytest.raises(Fatal, match="expired or revoked") as caught:
        await tokens.token("acme")
    assert caught.value.scope == "credential:acme"
    tokens.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_endpoint_that_is_unwell_passes(simulator: Simulator, folder: Path, kind: str, status: int) -> None:
    tokens = Tokens(a_catalog(simulator, folder, kind))
    simulator.engine.settings = msgspec.structs.replace(simulator.engine.settings, token_status=status)
    with pytest.raises(Retryable, match=str(status)):
        await tokens.token("acme")
    simulator.engine.settings = msgspec.structs.replace(simulator.engine.settings, token_status=None)
    assert await tokens.token("acme")
    tokens.close()


def test_a_workload_that_names_no_token_is_refused(simulator: Simulator, folder: Path) -> None:
    catalog = a_catalog(simulator, folder, "external_account")
    file = catalog.credentials[0].file
    file.write_text(json.dumps({**json.loads(file.read_text()), "credential_source": {}}))
    with pytest.raises(Invalid) as caught:
        Tokens(catalog)
    assert caught.value.field == "credentials.acme.file"
