"""Access tokens of Google credentials, by google-auth. Refreshes run in threads, one at a time for each credential."""

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

from pipeline.catalog import CatalogError, Credential
from pipeline.errors import Fatal, Invalid, Retryable
from pipeline.settings import address_problem

SCOPE = "https://www.googleapis.com/auth/webmasters.readonly"
TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
TIMEOUT_S = 30.0
ERROR_CHARACTERS = 500
REQUIRED_TEXTS = {
    "service_account": ("client_email", "private_key", "token_uri"),
    "authorized_user": ("client_id", "client_secret", "refresh_token"),
    "external_account": ("audience", "subject_token_type", "token_url"),
}
"""Fields that a file of each type must have. Errors never contain their values, since some are secret."""
ADDRESSES = ("token_uri", "token_url", "service_account_impersonation_url")
"""Fields with an address that google-auth calls."""


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
    """google-auth's transport over httpx, so that the project needs only one HTTP client."""

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
            response = self._client.request(
                method, url, content=body, headers=dict(headers or {}), timeout=timeout or TIMEOUT_S
            )
        except httpx.HTTPError as error:
            raise TransportError(f"{url}: {type(error).__name__}: {error}") from error
        # google-auth reports some of these as permanent refusals, but they are transient.
        if response.is_server_error or response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise TransportError(f"{url}: {response.status_code} {response.reason_phrase}")
        return _Response(response)

    def close(self) -> None:
        self._client.close()


class AccessTokens:
    """The access tokens of credentials, refreshed when they are about to expire."""

    def __init__(self, credentials: Sequence[Credential]) -> None:
        """Read the files of the credentials. Raises CatalogError with a line for each file that cannot be used."""
        self._credentials = _load_all(credentials)
        self._locks = {credential.id: asyncio.Lock() for credential in credentials}
        self._request = _Request()

    async def token(self, credential: str) -> str:
        """Return a token that is valid for some minutes. Raises Retryable, or Fatal for the credential's scope."""
        async with self._locks[credential]:
            google_credentials = self._credentials[credential]
            if not google_credentials.valid:
                await self._refresh(credential)
            return str(google_credentials.token)

    async def replace(self, credential: str, refused: str) -> None:
        """Get a new token in place of one that the API refused, unless another call has replaced it already."""
        async with self._locks[credential]:
            if self._credentials[credential].token == refused:
                await self._refresh(credential)

    async def _refresh(self, credential: str) -> None:
        try:
            await asyncio.to_thread(self._credentials[credential].refresh, self._request)
        except RefreshError as error:
            # Besides the message, some of google-auth's errors carry the body of the response.
            message = " ".join(" ".join(str(part) for part in error.args if isinstance(part, str)).split())
            text = f"credential {credential}: {message[:ERROR_CHARACTERS]}"
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
    """Return google-auth's credentials. Raises Invalid with the place in the catalog and the file."""
    try:
        return _build(credential.type, _read(credential))
    except (AttributeError, LookupError, TypeError, ValueError, GoogleAuthError) as error:
        raise Invalid(f"{credential.file}: {' '.join(str(error).split())}", field=credential.file_field) from error


def _read(credential: Credential) -> dict[str, Any]:
    """Return the content of a credential's file. Raises Invalid or ValueError."""
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
    _check(info, REQUIRED_TEXTS[credential.type])
    return info


def _check(info: Mapping[str, Any], required: Iterable[str]) -> None:
    """Raise ValueError when a required field is missing, or an address cannot be called."""
    for name in required:
        if not isinstance(info.get(name), str) or not info[name]:
            raise ValueError(f"{name}: must be non-empty text" if name in info else f"{name}: missing")
    source = info.get("credential_source")
    if not isinstance(source, dict):
        source = {}  # google-auth refuses it with an error of its own
    if not isinstance(source.get("file", ""), str):
        raise ValueError("credential_source.file: must be text")  # noqa: TRY004 - the value of a file is wrong, not a type
    addresses = {name: info.get(name) for name in ADDRESSES} | {"credential_source.url": source.get("url")}
    for name, address in addresses.items():
        if address is not None and (problem := address_problem(address)):
            raise ValueError(f"{name}: {problem}, got {address!r}")


def _build(kind: str, info: dict[str, Any]) -> Any:
    if kind == "service_account":
        return service_account.Credentials.from_service_account_info(info, scopes=[SCOPE])
    if kind == "external_account":
        return identity_pool.Credentials.from_info(info, scopes=[SCOPE])
    # google-auth's own reader ignores the file's token_uri. No scopes: a refresh with scopes that are not an exact
    # subset of the granted ones fails (RFC 6749, section 6).
    return authorized_user.Credentials(
        token=None,
        refresh_token=info["refresh_token"],
        token_uri=info.get("token_uri", TOKEN_URI),
        client_id=info["client_id"],
        client_secret=info["client_secret"],
    )
