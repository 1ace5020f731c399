"""Access tokens for Faust's Kafka client, by the same `sasl.oauthbearer.*` settings that librdkafka has.

librdkafka requests its tokens itself (`sasl.oauthbearer.method=oidc`). Faust's client asks this module for one at each
connection.
"""

import asyncio
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass

import httpx
import msgspec
from aiokafka.abc import AbstractTokenProvider

from pipeline.clock import monotonic
from pipeline.errors import Invalid
from pipeline.settings import address_problem, kafka_variable

TIMEOUT_S = 10.0
RENEW_AT = 0.8
"""Share of a token's life after which it is replaced, as in librdkafka."""

OIDC_SETTINGS = frozenset(
    {
        "sasl.oauthbearer.method",
        "sasl.oauthbearer.token.endpoint.url",
        "sasl.oauthbearer.client.id",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.scope",
        "sasl.oauthbearer.extensions",
    }
)
"""The settings of OAUTHBEARER that both clients support."""


@dataclass(frozen=True)
class OidcClient:
    """A client of an OpenID Connect provider, with the grant `client_credentials` (RFC 6749, section 4.4)."""

    token_url: str
    id: str
    secret: str
    scope: str = ""
    extensions: str = ""
    """SASL extensions for the broker: `logicalCluster=lkc-1,identityPoolId=pool-1`."""


def oidc_client(configuration: Mapping[str, str]) -> OidcClient:
    """Return the client that librdkafka's settings describe. Raises Invalid with the missing or wrong setting."""
    method = configuration.get("sasl.oauthbearer.method", "default")
    if method.lower() != "oidc":
        field = kafka_variable("sasl.oauthbearer.method")
        raise Invalid(f"must be oidc: the producer supports no other method, got {method!r}", field=field)
    required = {name: _required(configuration, name) for name in ("token.endpoint.url", "client.id", "client.secret")}
    if problem := address_problem(required["token.endpoint.url"]):
        raise Invalid(problem, field=kafka_variable("sasl.oauthbearer.token.endpoint.url"))
    return OidcClient(
        required["token.endpoint.url"],
        required["client.id"],
        required["client.secret"],
        configuration.get("sasl.oauthbearer.scope", ""),
        configuration.get("sasl.oauthbearer.extensions", ""),
    )


def _required(configuration: Mapping[str, str], name: str) -> str:
    full_name = f"sasl.oauthbearer.{name}"
    if value := configuration.get(full_name):
        return value
    raise Invalid("missing: OAUTHBEARER requires it", field=kafka_variable(full_name))


class _Answer(msgspec.Struct):
    """The response of the token endpoint (RFC 6749, section 5.1)."""

    access_token: str
    expires_in: float = 0.0


class OidcTokens(AbstractTokenProvider):
    """Requests access tokens, and keeps each for most of its life. Faust's consumer has a thread and an event loop of
    its own, so a lock guards the token, and requests block a thread of the pool instead of a loop."""

    def __init__(self, client: OidcClient, verify: ssl.SSLContext | bool = True) -> None:
        self._client = client
        self._verify = verify
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at = 0.0

    async def token(self) -> str:
        """Return a token that is valid now. Raises ConnectionError, which Faust's client retries."""
        return await asyncio.to_thread(self._current)

    def extensions(self) -> dict[str, str]:
        """Return the SASL extensions."""
        pairs = (pair.partition("=") for pair in self._client.extensions.split(",") if pair.strip())
        return {name.strip(): value.strip() for name, _, value in pairs}

    def _current(self) -> str:
        with self._lock:
            if monotonic() >= self._renew_at:
                requested = monotonic()
                answer = self._request()
                self._token, self._renew_at = answer.access_token, requested + answer.expires_in * RENEW_AT
            return self._token

    def _request(self) -> _Answer:
        form = {"grant_type": "client_credentials", **({"scope": self._client.scope} if self._client.scope else {})}
        try:
            response = httpx.post(
                self._client.token_url,
                data=form,
                auth=(self._client.id, self._client.secret),
                timeout=TIMEOUT_S,
                verify=self._verify,
            ).raise_for_status()
            return msgspec.json.decode(response.content, type=_Answer)
        except (httpx.HTTPError, msgspec.DecodeError) as error:
            raise ConnectionError(f"Kafka: no access token from {self._client.token_url}: {error}") from error
