"""Access tokens, by google-auth; refreshed in a thread, one refresh at a time for a credential."""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import google.auth.transport
import httpx
from google.auth import identity_pool
from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError
from google.oauth2 import credentials as authorized_user
from google.oauth2 import service_account

from fetcher.addresses import problem_of_url
from pipeline.catalog import CatalogError, Credential
from pipeline.errors import Fatal, Invalid, Retryable

SCOPE = "https://www.googleapis.com/auth/webmasters.readonly"
TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
TIMEOUT_S = 30.0
ERROR_CHARACTERS = 500
TEXTS = {
    "service_account": ("client_email", "private_key", "token_uri"),
    "authorized_user": ("client_id", "client_secret", "refresh_token"),
    "external_account": ("audience", "subject_token_type", "token_url"),
}
"""What a file of each type must have; never told, since some of it is secret."""
ADDRESSES = ("token_uri", "token_url", "service_account_impersonation_url")
"""Whom google-auth will call."""


class _Response(google.auth.transport.Response):
    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    @property
    def status(self) -> int:
        return self._response.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    @property
    def data(self) -> bytes:
        return self._response.content


class _Request(google.auth.transport.Request):
    """google-auth's transport over httpx, so that there is one HTTP client in the house."""

    def __init__(self) -> None:
        self._client = httpx.Client(timeout=TIMEOUT_S)

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> _Response:
        try:
            answer = self._client.request(
                method, url, content=body, headers=dict(headers or {}), timeout=timeout or TIMEOUT_S
            )
        except httpx.HTTPError as error:
            raise TransportError(f"{url}: {type(error).__name__}: {error}") from error
        # google-auth takes some of these for a refusal; they pass.
        if answer.is_server_error or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise TransportError(f"{url}: {answer.status_code} {answer.reason_phrase}")
        return _Response(answer)

    def close(self) -> None:
        self._client.close()


class AccessTokens:
    """AccessTokens of credentials. Reads their files at once; raises CatalogError with a line for each that
    cannot be used."""

    def __init__(self, credentials: Sequence[Credential]) -> None:
        self._credentials = _load_all(credentials)
        self._locks = {credential.id: asyncio.Lock() for credential in credentials}
        self._request = _Request()

    async def token(self, credential: str) -> str:
        """A token that is good for some minutes. Raises Retryable, or Fatal for the credential's scope."""
        async with self._locks[credential]:
            held = self._credentials[credential]
            if not held.valid:
                await self._refresh(credential)
            return str(held.token)

    async def replace(self, credential: str, refused: str) -> None:
        """The API refused this token: get another, unless somebody has already."""
        async with self._locks[credential]:
            if self._credentials[credential].token == refused:
                await self._refresh(credential)

    async def _refresh(self, credential: str) -> None:
        try:
            await asyncio.to_thread(self._credentials[credential].refresh, self._request)
        except RefreshError as error:
            # The message, and of some of google-auth's errors the body of the answer.
            told = " ".join(" ".join(str(part) for part in error.args if isinstance(part, str)).split())
            text = f"credential {credential}: {told[:ERROR_CHARACTERS]}"
            if error.retryable:
                raise Retryable(text) from error
            raise Fatal(text, scope=f"credential:{credential}") from error
        except GoogleAuthError as error:
            raise Retryable(f"credential {credential}: {error}") from error

    def close(self) -> None:
        """Close the connections."""
        self._request.close()


def _load_all(credentials: Iterable[Credential]) -> dict[str, Any]:
    loaded, problems = {}, []
    for credential in credentials:
        try:
            loaded[credential.id] = _load(credential)
        except Invalid as error:
            problems.append(str(error))
    if problems:
        raise CatalogError(*problems)
    return loaded


def _load(credential: Credential) -> Any:
    try:
        return _built(credential.type, _read(credential))
    except (AttributeError, LookupError, TypeError, ValueError, GoogleAuthError) as error:
        raise Invalid(f"{credential.file}: {' '.join(str(error).split())}", field=credential.file_field) from error


def _read(credential: Credential) -> dict[str, Any]:
    """The file, with what is needed of it. Raises Invalid or ValueError."""
    try:
        text = credential.file.read_bytes()
    except FileNotFoundError as error:
        raise Invalid(f"no such file: {credential.file}", field=credential.file_field) from error
    except OSError as error:
        raise ValueError(error.strerror) from error
    try:
        info = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(info, dict) or info.get("type", credential.type) != credential.type:
        raise ValueError(f"not a file of type {credential.type}")
    _check(info, TEXTS[credential.type])
    return info


def _check(info: Mapping[str, Any], texts: Iterable[str]) -> None:
    for name in texts:
        if not isinstance(info.get(name), str) or not info[name]:
            raise ValueError(f"{name}: no text" if name in info else f"{name}: missing")
    found = info.get("credential_source")
    source = found if isinstance(found, dict) else {}  # of another kind google-auth refuses it
    if not isinstance(source.get("file", ""), str):
        raise ValueError("credential_source.file: no text")  # noqa: TRY004 - of what the file says
    addresses = {name: info.get(name) for name in ADDRESSES} | {"credential_source.url": source.get("url")}
    for name, address in addresses.items():
        if address is not None and (problem := problem_of_url(address)):
            raise ValueError(f"{name}: {problem}, got {address!r}")


def _built(kind: str, info: dict[str, Any]) -> Any:
    if kind == "service_account":
        return service_account.Credentials.from_service_account_info(info, scopes=[SCOPE])
    if kind == "external_account":
        return identity_pool.Credentials.from_info(info, scopes=[SCOPE])
    # Built by hand: google-auth's own reader ignores the file's token_uri. No scopes: see RFC 6749, 6.
    return authorized_user.Credentials(
        token=None,
        refresh_token=info["refresh_token"],
        token_uri=info.get("token_uri", TOKEN_URI),
        client_id=info["client_id"],
        client_secret=info["client_secret"],
    )
