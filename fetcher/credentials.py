"""Access tokens of Google credentials, by google-auth, which blocks: its requests run in threads."""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

import google.auth.transport
import httpx
from google.auth import identity_pool
from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError
from google.oauth2 import credentials as authorized_user
from google.oauth2 import service_account

from fetcher.access_token import AccessToken
from pipeline.catalog import CatalogError, Credential
from pipeline.clock import monotonic, now
from pipeline.errors import Fatal, Invalid, Retryable
from pipeline.settings import address_problem

SCOPE = "https://www.googleapis.com/auth/webmasters.readonly"
TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
TIMEOUT_S = 30.0
DEADLINE_S = 60.0
"""Seconds after which a call no longer waits for a token; impersonation takes two requests."""
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
        self._client = httpx.Client(timeout=TIMEOUT_S, limits=httpx.Limits(max_connections=None))

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


@dataclass(eq=False)
class _Account:
    """A credential, its current token, and the request for another one if there is one in progress."""

    google_credentials: Any
    token: AccessToken = field(default_factory=AccessToken)
    request: "asyncio.Task[str] | None" = None


class AccessTokens:
    """The access tokens of credentials, replaced before they expire and when the API refuses them.

    Each credential has one request for a token at a time, in a thread of its own: a token endpoint that hangs delays
    no other credential. Calls that wait for it share its result.
    """

    def __init__(self, credentials: Sequence[Credential]) -> None:
        """Read the files of the credentials. Raises CatalogError with a line for each file that cannot be used."""
        self._accounts = {id_: _Account(loaded) for id_, loaded in _load_all(credentials).items()}
        self._threads = ThreadPoolExecutor(len(credentials) or 1, thread_name_prefix="access-token")
        self._request = _Request()

    async def token(self, credential: str) -> str:
        """Return a token that is valid for some time. Raises Retryable, or Fatal for the credential's scope."""
        account = self._accounts[credential]
        return account.token.usable(monotonic()) or await self._obtain(credential, account)

    def refused(self, credential: str, token: str) -> bool:
        """Record that the API refused a token; return whether it refuses the credential's new tokens, too."""
        return self._accounts[credential].token.refused(token)

    def accepted(self, credential: str, token: str) -> None:
        """Record that the API accepted a token."""
        self._accounts[credential].token.accepted(token)

    async def _obtain(self, credential: str, account: _Account) -> str:
        if account.request is None:
            account.request = asyncio.create_task(self._request_token(credential, account))
            # When every call that waits for it was cancelled, nobody else retrieves the error.
            account.request.add_done_callback(lambda task: task.cancelled() or task.exception())
        request = account.request
        if not (await asyncio.wait({request}, timeout=DEADLINE_S))[0]:
            raise Retryable(f"credential {credential}: no access token within {DEADLINE_S:.0f} s")
        return request.result()

    async def _request_token(self, credential: str, account: _Account) -> str:
        loop, google_credentials = asyncio.get_running_loop(), account.google_credentials
        try:
            await loop.run_in_executor(self._threads, self._refresh, credential, google_credentials)
            account.token.obtained(str(google_credentials.token), _life_s(google_credentials), monotonic())
            return str(google_credentials.token)
        finally:
            account.request = None

    def _refresh(self, credential: str, google_credentials: Any) -> None:
        try:
            google_credentials.refresh(self._request)
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
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._request.close()


def _life_s(google_credentials: Any) -> float | None:
    """Return the seconds until the token expires. google-auth's times are in UTC, without an offset."""
    expiry = google_credentials.expiry
    return None if expiry is None else (expiry.replace(tzinfo=UTC) - now()).total_seconds()


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
