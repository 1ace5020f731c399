"""Access tokens of Google credentials: how long each is used, what a refusal of it means, and requests for new ones.

google-auth blocks, so its requests run in threads.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any

import google.auth.transport
import httpx
from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError

from fetcher.credential_file import load_credential
from fetcher.token_hosts import TokenHosts
from pipeline.catalog import Credential
from pipeline.clock import monotonic, now
from pipeline.errors import Fatal, Invalid, Retryable

TIMEOUT_S = 30.0
"""The deadline of a request to a token endpoint, from its first byte to the last byte of the response."""
DEADLINE_S = 60.0
"""Seconds after which a call no longer waits for a token; impersonation takes two requests."""
ERROR_CHARACTERS = 500
REFRESH_MARGIN_S = 225.0
"""Seconds before its end at which a token is replaced; as in google-auth, the servers' caches expire earlier."""
REFRESH_MARGIN_RATIO = 0.1
"""The margin of a token that lives for less than forty minutes, as a share of its life."""
SHORTEST_USE_S = 1.0
"""A token that has expired by this machine's clock is used for as long, since the clock may be wrong."""


def seconds_of_use(life_s: float | None) -> float:
    """Return for how many seconds a token is used that is valid for `life_s`; None: until it is refused."""
    if life_s is None:
        return float("inf")
    return max(life_s - min(REFRESH_MARGIN_S, life_s * REFRESH_MARGIN_RATIO), SHORTEST_USE_S)


class AccessToken:
    """The current token of a credential, shared by its calls; times are on a monotonic clock.

    A refusal belongs to the token, not to the page whose call was refused: the token is dropped, and the next call
    obtains another. The credential itself is refused only when the first answer to a token that replaced a refused one
    is a refusal, too.
    """

    def __init__(self) -> None:
        self._value: str | None = None
        self._use_until = 0.0
        self._replaces_refused = False

    def usable(self, now: float) -> str | None:
        """Return the token, or None when another must be obtained."""
        return self._value if now < self._use_until else None

    def obtained(self, value: str, life_s: float | None, now: float) -> None:
        """Use a new token from now on."""
        self._value = value
        self._use_until = now + seconds_of_use(life_s)

    def accepted(self, value: str) -> None:
        """Record the end of a call with this token that was not a refusal of it."""
        if value == self._value:
            self._replaces_refused = False

    def refused(self, value: str) -> bool:
        """Drop a token that the API refused; return whether the credential is refused with it.

        A token that another call has replaced already says nothing about the current one.
        """
        if value != self._value:
            return False
        is_final = self._replaces_refused
        self._value, self._use_until, self._replaces_refused = None, 0.0, True
        return is_final


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
    """google-auth's transport over httpx, so that the project needs only one HTTP client.

    A request has an event loop of its own: a deadline of the whole request needs one, and tokens are requested rarely.
    """

    def __init__(self) -> None:
        self._tls = httpx.create_ssl_context()

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        **_: Any,
    ) -> _Response:
        try:
            response = asyncio.run(self._send(httpx.Request(method, url, content=body, headers=dict(headers or {}))))
        except TimeoutError as error:
            raise TransportError(f"{url}: no complete response within {TIMEOUT_S:g} s") from error
        except httpx.HTTPError as error:
            raise TransportError(f"{url}: {type(error).__name__}: {error}") from error
        # google-auth reports some of these as permanent refusals, but they are transient.
        if response.is_server_error or response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise TransportError(f"{url}: {response.status_code} {response.reason_phrase}")
        return _Response(response)

    async def _send(self, request: httpx.Request) -> httpx.Response:
        async with asyncio.timeout(TIMEOUT_S), httpx.AsyncClient(verify=self._tls, timeout=None) as client:  # noqa: S113
            return await client.send(request)


_Version = tuple[int, int, int]
"""What changes when a file is written or replaced: time of modification, inode, size."""


def _version(path: Path | None) -> _Version | None:
    """Return the version of a file; None when it is missing or empty, as in the moment in which it is replaced."""
    if path is None:
        return None
    try:
        stat = path.stat()
    except OSError:
        return None
    return (stat.st_mtime_ns, stat.st_ino, stat.st_size) if stat.st_size else None


@dataclass(eq=False)
class _Account:
    """A credential, its current token with the version of the file that it came from, and a request in progress."""

    credential: Credential
    token: AccessToken = field(default_factory=AccessToken)
    version: _Version | None = None
    request: "asyncio.Task[str] | None" = None

    def check_file(self) -> None:
        """Drop the token when the key file has changed since."""
        version = _version(self.credential.file)
        if version is not None and version != self.version:
            self.token = AccessToken()


class AccessTokens:
    """The access tokens of credentials, replaced before they expire and when the API refuses them.

    A key file is read for each token, so one that cannot be used concerns its credential only, and one that is repaired
    or replaced is used from the next call on. Each credential has one request for a token at a time, in a thread of its
    own: a token endpoint that hangs delays no other credential. Calls that wait for it share its result.
    """

    def __init__(self, credentials: Sequence[Credential], hosts: TokenHosts) -> None:
        self._hosts = hosts
        self._accounts = {credential.id: _Account(credential) for credential in credentials}
        self._size = len(credentials) or 1
        self._threads = _threads(self._size)
        self._request = _Request()

    def replace_credentials(self, credentials: Sequence[Credential]) -> None:
        """Use these credentials from now on. One that is unchanged keeps its token.

        One that is not among them is kept, too, for the calls in flight.
        """
        for credential in credentials:
            account = self._accounts.get(credential.id)
            if account is None or not account.credential.is_same_key(credential):
                self._accounts[credential.id] = _Account(credential)
        if len(self._accounts) > self._size:
            self._size = len(self._accounts)
            self._threads.shutdown(wait=False)  # after the requests in progress
            self._threads = _threads(self._size)

    async def token(self, credential: str) -> str:
        """Return a token that is valid for some time. Raises Retryable, or Fatal for the credential's scope."""
        account = self._accounts[credential]
        account.check_file()
        return account.token.usable(monotonic()) or await self._obtain(account)

    def refused(self, credential: str, token: str) -> bool:
        """Record that the API refused a token; return whether it refuses the credential's new tokens, too."""
        return self._accounts[credential].token.refused(token)

    def accepted(self, credential: str, token: str) -> None:
        """Record that the API accepted a token."""
        self._accounts[credential].token.accepted(token)

    async def _obtain(self, account: _Account) -> str:
        if account.request is None:
            account.request = asyncio.create_task(self._request_token(account))
            # When every call that waits for it was cancelled, nobody else retrieves the error.
            account.request.add_done_callback(lambda task: task.cancelled() or task.exception())
        request = account.request
        if not (await asyncio.wait({request}, timeout=DEADLINE_S))[0]:
            raise Retryable(f"credential {account.credential.id}: no access token within {DEADLINE_S:.0f} s")
        return request.result()

    async def _request_token(self, account: _Account) -> str:
        loop, version = asyncio.get_running_loop(), _version(account.credential.file)
        try:
            google_credentials = await loop.run_in_executor(self._threads, self._authenticate, account.credential)
            account.version = version
            account.token.obtained(str(google_credentials.token), _life_s(google_credentials), monotonic())
            return str(google_credentials.token)
        finally:
            account.request = None

    def _authenticate(self, credential: Credential) -> Any:
        """Return google-auth's object with a new token. Raises Retryable, or Fatal for the credential's scope."""
        scope = f"credential:{credential.id}"
        try:
            google_credentials = load_credential(credential, self._hosts)
            google_credentials.refresh(self._request)
        except Invalid as error:
            # A key file stays as it is, but the metadata server of a machine may be away for a moment.
            raise (Retryable(str(error)) if credential.file is None else Fatal(str(error), scope=scope)) from error
        except RefreshError as error:
            # Besides the message, some of google-auth's errors carry the body of the response.
            message = " ".join(" ".join(str(part) for part in error.args if isinstance(part, str)).split())
            text = f"credential {credential.id}: {message[:ERROR_CHARACTERS]}"
            raise (Retryable(text) if error.retryable else Fatal(text, scope=scope)) from error
        except GoogleAuthError as error:
            raise Retryable(f"credential {credential.id}: {error}") from error
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            text = f"the answer of the token endpoint cannot be used: {type(error).__name__}: {error}"
            raise Retryable(f"credential {credential.id}: {text[:ERROR_CHARACTERS]}") from error
        return google_credentials

    def close(self) -> None:
        """Start no more requests."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _threads(count: int) -> ThreadPoolExecutor:
    """Return a thread for each credential."""
    return ThreadPoolExecutor(count, thread_name_prefix="access-token")


def _life_s(google_credentials: Any) -> float | None:
    """Return the seconds until the token expires. google-auth's times are in UTC, without an offset."""
    expiry = google_credentials.expiry
    return None if expiry is None else (expiry.replace(tzinfo=UTC) - now()).total_seconds()
