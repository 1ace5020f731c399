"""Credentials of every kind against the token endpoints of the simulator."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from fetcher.credential_file import credential_problems, load_credential
from fetcher.credentials import AccessTokens
from fetcher.search_console import SearchConsole
from fetcher.token_hosts import TokenHosts
from lab.search_console.keys import Keys
from lab.search_console.server import Simulator
from lab.search_console.settings import Fault, FaultKind, SimulatorSettings, Site, User
from pipeline.catalog import Catalog, Credential, Property
from pipeline.errors import Fatal, Invalid, Retryable
from support.simulator import serving
from support.wait import until

KINDS = ("service_account", "authorized_user", "external_account")
URL = "sc-domain:example.com"
LOOPBACK = TokenHosts(["http://127.0.0.1"])


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    users = tuple(User(id=f"{kind}@example.com", kind=kind, delegates=("other@example.com",)) for kind in KINDS)
    site = Site(url=URL, users=tuple(user.id for user in users))
    with serving(SimulatorSettings(sites=(site,), users=(*users, User(id="other@example.com")))) as running:
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


def key_file(credential: Credential) -> Path:
    assert credential.file is not None
    return credential.file


@pytest.fixture
async def console(simulator: Simulator) -> AsyncIterator[SearchConsole]:
    async with SearchConsole(simulator.root, timeout_s=10, connections=1) as opened:
        yield opened


@pytest.mark.parametrize("kind", KINDS)
async def test_a_token_is_valid_shared_and_replaced_once(
    simulator: Simulator, console: SearchConsole, folder: Path, kind: str
) -> None:
    tokens = AccessTokens(a_catalog(simulator, folder, kind).credentials, LOOPBACK)
    [token] = {*await asyncio.gather(*(tokens.token("acme") for _ in range(20)))}
    assert list(await console.sites(token)) == [URL]
    assert [tokens.refused("acme", token) for _ in range(20)] == [False] * 20
    [other] = {*await asyncio.gather(*(tokens.token("acme") for _ in range(20)))}
    assert other != token
    assert simulator.engine.tokens.issued_count == 2
    assert tokens.refused("acme", other)
    tokens.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_revoked_user_is_fatal_for_its_credential(simulator: Simulator, folder: Path, kind: str) -> None:
    tokens = AccessTokens(a_catalog(simulator, folder, kind).credentials, LOOPBACK)
    simulator.engine.tokens.revoked.add(f"{kind}@example.com")
    with pytest.raises(Fatal, match="expired or revoked") as caught:
        await tokens.token("acme")
    assert caught.value.scope == "credential:acme"
    tokens.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["429", "500", "503", "reset", "truncated"])
async def test_a_failure_of_the_token_endpoint_is_retryable(
    simulator: Simulator, folder: Path, kind: str, fault: FaultKind
) -> None:
    tokens = AccessTokens(a_catalog(simulator, folder, kind).credentials, LOOPBACK)
    simulator.engine.faults.replace((Fault(kind=fault, on="token"),))
    with pytest.raises(Retryable, match=fault if fault.isdigit() else "RemoteProtocolError|ReadError"):
        await tokens.token("acme")
    simulator.engine.faults.replace(())
    assert await tokens.token("acme")
    tokens.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["stall", "stall_body", "trickle"])
async def test_a_request_of_a_token_has_a_deadline_for_its_last_byte_and_the_next_one_is_not_behind_it(
    simulator: Simulator, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, fault: FaultKind
) -> None:
    monkeypatch.setattr("fetcher.credentials.TIMEOUT_S", 1.0)
    tokens = AccessTokens(a_catalog(simulator, folder, kind).credentials, LOOPBACK)
    simulator.engine.faults.replace((Fault(kind=fault, on="token", seconds=60.0),))
    with pytest.raises(Retryable, match="no complete response within 1 s"):
        await tokens.token("acme")
    simulator.engine.faults.replace(())
    assert await tokens.token("acme")
    tokens.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_short_lived_tokens_are_shared_by_calls_and_replaced_in_time(
    simulator: Simulator, console: SearchConsole, folder: Path, kind: str
) -> None:
    simulator.engine.tokens.lifetime_s = 4
    tokens = AccessTokens(a_catalog(simulator, folder, kind).credentials, LOOPBACK)
    first = await tokens.token("acme")
    for _ in range(10):
        assert await tokens.token("acme") == first
    assert list(await console.sites(first)) == [URL]

    async def is_replaced() -> bool:
        return await tokens.token("acme") != first

    await until(is_replaced, 60, "another token is obtained")
    assert list(await console.sites(await tokens.token("acme"))) == [URL]
    assert simulator.engine.tokens.issued_count == 2
    tokens.close()


async def test_a_token_endpoint_that_hangs_delays_no_other_credential(
    simulator: Simulator, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fetcher.credentials.DEADLINE_S", 4.0)
    [account] = a_catalog(simulator, folder, "service_account").credentials
    [person] = a_catalog(simulator, folder, "authorized_user").credentials
    hanging = [account.model_copy(update={"id": f"hangs-{number}"}) for number in range(40)]
    simulator.engine.faults.replace((Fault(kind="stall", on="token", user="service_account@example.com", seconds=60),))
    tokens = AccessTokens([*hanging, person], LOOPBACK)
    waiting = [asyncio.ensure_future(tokens.token(item.id)) for item in hanging]
    assert await tokens.token("acme")
    for error in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(error, Retryable)
        assert "no access token within" in str(error)
    tokens.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_credentials_are_valid_after_a_restart_with_the_same_keys(folder: Path, kind: Any) -> None:
    user = User(id=f"{kind}@example.com", kind=kind)
    settings = SimulatorSettings(sites=(Site(url=URL, users=(user.id,)),), users=(user,))
    with serving(settings, Keys(folder / "keys")) as before:
        port = int(before.root.rpartition(":")[2])
        tokens = AccessTokens(a_catalog(before, folder, kind).credentials, LOOPBACK)
        token = await tokens.token("acme")
    with serving(settings, Keys(folder / "keys"), port) as after:
        async with SearchConsole(after.root, timeout_s=10, connections=1) as console:
            assert list(await console.sites(token)) == [URL]
            tokens.refused("acme", token)
            assert list(await console.sites(await tokens.token("acme"))) == [URL]
        assert after.engine.tokens.issued_count == 1
    tokens.close()


def test_an_external_account_without_a_source_of_its_token_is_refused(simulator: Simulator, folder: Path) -> None:
    [credential] = a_catalog(simulator, folder, "external_account").credentials
    key_file(credential).write_text(
        json.dumps({**json.loads(key_file(credential).read_text()), "credential_source": {}})
    )
    with pytest.raises(Invalid, match=r"^credentials\.acme\.file: .*external_account\.json: "):
        load_credential(credential, LOOPBACK)


async def test_a_broken_key_file_is_fatal_for_its_credential_only_and_is_read_again(
    simulator: Simulator, console: SearchConsole, folder: Path
) -> None:
    [broken] = a_catalog(simulator, folder, "authorized_user").credentials
    [healthy] = a_catalog(simulator, folder, "service_account").credentials
    content = key_file(broken).read_text()
    key_file(broken).write_text("{}")
    tokens = AccessTokens([broken, healthy.model_copy(update={"id": "healthy"})], LOOPBACK)
    with pytest.raises(
        Fatal, match=r"^credentials\.acme\.file: .*/authorized_user\.json: client_id: missing"
    ) as caught:
        await tokens.token("acme")
    assert caught.value.scope == "credential:acme"
    assert list(await console.sites(await tokens.token("healthy"))) == [URL]
    key_file(broken).write_text(content)
    assert list(await console.sites(await tokens.token("acme"))) == [URL]
    tokens.close()


async def test_a_key_file_that_is_replaced_is_used_from_the_next_call_on(
    simulator: Simulator, console: SearchConsole, folder: Path
) -> None:
    [credential] = a_catalog(simulator, folder, "service_account").credentials
    tokens = AccessTokens([credential], LOOPBACK)
    first = await tokens.token("acme")
    replacement = json.dumps(simulator.engine.tokens.credential_file("other@example.com", simulator.root))
    key_file(credential).write_text("")  # as in the moment in which it is written
    assert await tokens.token("acme") == first
    key_file(credential).write_text(replacement)
    assert await tokens.token("acme") != first
    assert await console.sites(await tokens.token("acme")) == {}
    tokens.close()


async def test_a_token_endpoint_whose_answer_cannot_be_used_is_retryable(simulator: Simulator, folder: Path) -> None:
    simulator.engine.faults.replace((Fault(kind="wrong_shape", on="token"),))
    for kind in KINDS:
        tokens = AccessTokens(a_catalog(simulator, folder, kind).credentials, LOOPBACK)
        with pytest.raises((Retryable, Fatal)):
            await tokens.token("acme")
        tokens.close()


@pytest.mark.parametrize(
    ("kind", "name", "value", "message"),
    [
        ("service_account", "token_uri", "http://[::1", "token_uri: must be a valid URL, invalid IPv6 address"),
        ("service_account", "token_uri", 5, "token_uri: must be non-empty text"),
        ("service_account", "private_key", 5, "private_key: must be non-empty text"),
        ("authorized_user", "token_uri", "http://localhost:99999", "token_uri: .*invalid port number"),
        ("authorized_user", "token_uri", 5, "token_uri: must be a URL that begins with http"),
        ("authorized_user", "refresh_token", None, "refresh_token: must be non-empty text"),
        ("external_account", "token_url", "http://localhost:abc", "token_url: .*invalid port number"),
        (
            "external_account",
            "service_account_impersonation_url",
            "ftp://x",
            "_url: must be a URL that begins with http",
        ),
        (
            "external_account",
            "credential_source",
            {"url": "http://[::1"},
            r"credential_source\.url: .*invalid IPv6 address",
        ),
        (
            "service_account",
            "token_uri",
            "https://oauth2.googleapis.com.evil.example/",
            "token_uri: not one of Google's",
        ),
        (
            "authorized_user",
            "token_uri",
            "http://oauth2.googleapis.com/token",
            "GSC_TOKEN_HOSTS allows others, got 'http:",
        ),
        (
            "external_account",
            "token_url",
            "https://sts.googleapis.com@evil.example/v1",
            "token_url: not one of Google's",
        ),
        (
            "external_account",
            "service_account_impersonation_url",
            "https://evil.example/x",
            "got 'https://evil.example/x'",
        ),
        (
            "external_account",
            "credential_source",
            {"url": "http://169.254.169.254/metadata"},
            r"external_account\.json: credential_source\.url: not one of Google's hosts over https",
        ),
        ("external_account", "credential_source", {"file": 5}, r"credential_source\.file: must be text"),
        ("external_account", "credential_source", {"url": "http://127.0.0.1/x", "format": 5}, "acme"),
        ("external_account", "type", "robot", "not a file of type external_account"),
    ],
)
def test_a_file_that_cannot_be_used_is_reported_with_its_field(
    simulator: Simulator, folder: Path, kind: str, name: str, value: object, message: str
) -> None:
    [credential] = a_catalog(simulator, folder, kind).credentials
    key_file(credential).write_text(json.dumps({**json.loads(key_file(credential).read_text()), name: value}))
    with pytest.raises(Invalid, match=message):
        load_credential(credential.located_at(folder / "catalog.yaml", 3), LOOPBACK)


async def test_a_service_account_acts_for_its_subject(
    simulator: Simulator, console: SearchConsole, folder: Path
) -> None:
    [credential] = a_catalog(simulator, folder, "service_account").credentials
    for subject, found in (("other@example.com", {}), ("authorized_user@example.com", None)):
        tokens = AccessTokens([credential.model_copy(update={"subject": subject})], LOOPBACK)
        if found is None:
            with pytest.raises(Fatal, match="unauthorized_client"):
                await tokens.token("acme")
        else:
            assert await console.sites(await tokens.token("acme")) == found
        tokens.close()


async def test_another_subject_is_another_account(simulator: Simulator, folder: Path) -> None:
    [credential] = a_catalog(simulator, folder, "service_account").credentials
    tokens = AccessTokens([credential], LOOPBACK)
    token = await tokens.token("acme")
    tokens.replace_credentials([credential.model_copy(update={"subject": "other@example.com"})])
    assert await tokens.token("acme") != token
    tokens.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_application_default_credentials_come_from_the_environment(
    simulator: Simulator, console: SearchConsole, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    file = a_catalog(simulator, folder, kind).credentials[0].file
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    tokens = AccessTokens([Credential(id="acme", type="application_default")], LOOPBACK)
    token = await tokens.token("acme")
    assert list(await console.sites(token)) == [URL]
    assert await tokens.token("acme") == token
    tokens.close()


async def test_missing_application_default_credentials_are_one_line_and_retryable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(folder))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    credential = Credential(id="acme", type="application_default").located_at(folder / "catalog.yaml", 2)
    [problem] = credential_problems([credential], LOOPBACK)
    assert problem.startswith(f"{folder}/catalog.yaml:2: credentials.acme.type: Application Default Credentials: ")
    assert "not found" in problem
    tokens = AccessTokens([credential], LOOPBACK)
    with pytest.raises(Retryable, match="not found"):
        await tokens.token("acme")
    tokens.close()


def test_a_default_key_file_is_checked_like_any_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "key.json").write_text('{"type": "service_account", "client_email": "x"}')
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(folder / "key.json"))
    [problem] = credential_problems([Credential(id="acme", type="application_default")], LOOPBACK)
    assert problem.endswith("key.json: private_key: missing")


@pytest.mark.parametrize("content", [None, b"", b"[]", b"\xff", b"[" * 100_000])
def test_each_file_that_is_missing_or_not_json_is_reported_on_its_own_line(folder: Path, content: bytes | None) -> None:
    if content is not None:
        (folder / "a.json").write_bytes(content)
    one = Credential(id="acme", type="service_account", file=Path("a.json")).located_at(folder / "catalog.yaml", 3)
    two = Credential(id="other", type="service_account", file=Path("b.json")).located_at(folder / "catalog.yaml", 4)
    problems = credential_problems([one, two], LOOPBACK)
    assert [line.removeprefix(str(folder)).partition(".file: ")[0] for line in problems] == [
        "/catalog.yaml:3: credentials.acme",
        "/catalog.yaml:4: credentials.other",
    ]


async def test_a_new_credential_is_used_and_an_unchanged_one_keeps_its_token(
    simulator: Simulator, folder: Path
) -> None:
    [first] = a_catalog(simulator, folder, "service_account").credentials
    [second] = a_catalog(simulator, folder, "authorized_user").credentials
    second = second.model_copy(update={"id": "other"})
    tokens = AccessTokens([first], LOOPBACK)
    token = await tokens.token("acme")
    tokens.replace_credentials([first.located_at(folder / "catalog.yaml", 7), second])
    assert await asyncio.gather(tokens.token("acme"), tokens.token("other")) == [token, await tokens.token("other")]
    assert simulator.engine.tokens.issued_count == 2
    tokens.replace_credentials([second.model_copy(update={"id": "acme"})])  # another file for the same credential
    assert await tokens.token("acme") != token
    tokens.close()
