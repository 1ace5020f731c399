"""Access tokens, by google-auth; refreshed in a thread, one refresh at a time for a credential."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import google.auth.transport
import httpx
from google.auth import identity_pool
from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError
from google.oauth2 import credentials as authorized_user
from google.oauth2 import service_account

from pipeline.catalog import Catalog, Credential
from pipeline.errors import Fatal, Invalid, Retryable

SCOPE = "https://www.googleapis.com/auth/webmasters.readonly"
TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
TIMEOUT_S = 30.0
ERROR_CHARACTERS = 500


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


class Tokens:
    """Tokens of the catalog's credentials. Reads their files at once; raises Invalid that names file and field."""

    def __init__(self, catalog: Catalog) -> None:
        self._credentials = {credential.id: _load(credential) for credential in catalog.credentials}
        self._locks = {credential.id: asyncio.Lock() for credential in catalog.credentials}
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


def _load(credential: Credential) -> Any:
    field = f"credentials.{credential.id}.file"
    try:
        info = json.loads(credential.file.read_text(encoding="utf-8"))
    except OSError as error:
        raise Invalid(f"{credential.file}: {error.strerror}", field=field) from error
    except ValueError as error:
        raise Invalid(f"{credential.file}: not JSON: {error}", field=field) from error
    if not isinstance(info, dict) or info.get("type", credential.type) != credential.type:
        raise Invalid(f"{credential.file}: not a file of type {credential.type}", field=field)
    try:
        return _built(credential.type, info)
    except (KeyError, ValueError, GoogleAuthError) as error:
        raise Invalid(f"{credential.file}: {error}", field=field) from error


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
