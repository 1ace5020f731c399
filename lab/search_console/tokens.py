"""The OAuth token endpoints: service-account assertions, refresh tokens and tokens of other platforms in, access tokens
out.
"""

import base64
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from lab.search_console.settings import User

_SCOPE = "https://www.googleapis.com/auth/webmasters"
_CLIENT_ID = "simulated-client"


_POOL = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/simulated/providers/simulated"
_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:"  # noqa: S105 - RFC 8693


class InvalidGrant(Exception):
    """The token endpoint refuses."""


class Tokens:
    """Accounts, their keys, and the tokens that were issued."""

    def __init__(self, users: tuple[User, ...], lifetime_s: int) -> None:
        self._users = {user.id: user for user in users}
        self._keys: dict[str, rsa.RSAPrivateKey] = {}
        self._secrets = {user.id: secrets.token_urlsafe(16) for user in users}
        self._issued: dict[str, tuple[str, float]] = {}
        self._exchanged: dict[str, str] = {}
        self.revoked: set[str] = set()
        self.lifetime_s = lifetime_s
        self.issued_count = 0

    def credential_file(self, user_id: str, root: str) -> dict[str, Any]:
        """The JSON that Google would hand out for the user, with addresses under `root`. Raises KeyError."""
        token_uri = f"{root}/token"
        if self._users[user_id].kind == "external_account":
            account = f"{root}/v1/projects/-/serviceAccounts/{quote(user_id, safe='')}"
            return {
                "type": "external_account",
                "audience": _POOL,
                "subject_token_type": f"{_TOKEN_TYPE}jwt",
                "token_url": f"{root}/v1/token",
                "service_account_impersonation_url": f"{account}:generateAccessToken",
                "credential_source": {"file": "subject-token"},
            }
        if self._users[user_id].kind == "authorized_user":
            return {
                "type": "authorized_user",
                "client_id": _CLIENT_ID,
                "client_secret": "simulated",
                "refresh_token": self._secrets[user_id],
                "token_uri": token_uri,
            }
        pem = self._key(user_id).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "project_id": "simulated",
            "private_key_id": "1",
            "private_key": pem.decode(),
            "client_email": user_id,
            "client_id": "1",
            "token_uri": token_uri,
        }

    def _key(self, user_id: str) -> rsa.RSAPrivateKey:
        if user_id not in self._keys:
            self._keys[user_id] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return self._keys[user_id]

    def grant(self, form: Mapping[str, str], now: float) -> dict[str, Any]:
        """The answer of the token endpoint; `now` in seconds since 1970. Raises InvalidGrant."""
        user = self._by_assertion(form, now) if "assertion" in form else self._by_refresh_token(form)
        return {"access_token": self._issue(user, now), "expires_in": self.lifetime_s, "token_type": "Bearer"}

    def subject_token(self, user_id: str) -> str:
        """What the platform of the workload would give it. Raises KeyError."""
        return self._secrets[user_id]

    def exchange(self, form: Mapping[str, str]) -> dict[str, Any]:
        """The answer of the token exchange (RFC 8693): a token that is good for impersonation. Raises InvalidGrant."""
        user = self._by_secret(form.get("subject_token", ""), "external_account")
        if form.get("audience") != _POOL:
            raise InvalidGrant("Invalid value for audience.")
        token = secrets.token_urlsafe(24)
        self._exchanged[token] = user
        kind = f"{_TOKEN_TYPE}access_token"
        return {"access_token": token, "issued_token_type": kind, "expires_in": 3600, "token_type": "Bearer"}

    def impersonate(self, user_id: str, authorization: str, body: Mapping[str, Any], now: float) -> dict[str, str]:
        """The answer of generateAccessToken. Raises InvalidGrant."""
        if self._exchanged.get(authorization.removeprefix("Bearer ")) != user_id:
            raise InvalidGrant("Permission 'iam.serviceAccounts.getAccessToken' denied.")
        if not any(_SCOPE in scope for scope in body.get("scope", ())):
            raise InvalidGrant("The scope is missing.")
        until = datetime.fromtimestamp(now + self.lifetime_s, UTC)
        return {"accessToken": self._issue(user_id, now), "expireTime": f"{until:%Y-%m-%dT%H:%M:%SZ}"}

    def _issue(self, user: str, now: float) -> str:
        if user in self.revoked:
            raise InvalidGrant("Token has been expired or revoked.")
        token = secrets.token_urlsafe(24)
        self._issued[token] = (user, now + self.lifetime_s)
        self.issued_count += 1
        return token

    def _by_refresh_token(self, form: Mapping[str, str]) -> str:
        if form.get("client_id") != _CLIENT_ID:
            raise InvalidGrant("Bad Request")
        return self._by_secret(form.get("refresh_token", ""), "authorized_user")

    def _by_secret(self, given: str, kind: str) -> str:
        for user, secret in self._secrets.items():
            if secret == given and self._users[user].kind == kind:
                return user
        raise InvalidGrant("Bad Request")

    def _by_assertion(self, form: Mapping[str, str], now: float) -> str:
        try:
            signed, _, signature = form["assertion"].rpartition(".")
            claims = json.loads(_decoded(signed.partition(".")[2]))
            user = str(claims["iss"])
            self._keys[user].public_key().verify(
                _decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256()
            )
        except (ValueError, KeyError, InvalidSignature) as error:
            raise InvalidGrant("Invalid JWT Signature.") from error
        if not claims.get("iat", 0) - 300 <= now <= claims.get("exp", 0) or _SCOPE not in claims.get("scope", ""):
            raise InvalidGrant("Invalid JWT: expired, or without the scope.")
        return user

    def user_of(self, authorization: str, now: float) -> str | None:
        """Who the bearer of an Authorization header is, or None when the token is unknown or has expired."""
        user, until = self._issued.get(authorization.removeprefix("Bearer "), ("", 0.0))
        return user if now < until and user not in self.revoked else None

    def expire_all(self) -> None:
        """From now on every token that was issued is refused."""
        self._issued.clear()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
