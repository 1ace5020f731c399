"""The OAuth token endpoint: service-account assertions and refresh tokens in, access tokens out."""

import base64
import json
import secrets
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from lab.search_console.settings import User

_SCOPE = "https://www.googleapis.com/auth/webmasters"
_CLIENT_ID = "simulated-client"


class InvalidGrant(Exception):
    """The token endpoint refuses."""


class Tokens:
    """Accounts, their keys, and the tokens that were issued."""

    def __init__(self, users: tuple[User, ...], lifetime_s: int) -> None:
        self._users = {user.id: user for user in users}
        self._keys: dict[str, rsa.RSAPrivateKey] = {}
        self._secrets = {user.id: secrets.token_urlsafe(16) for user in users}
        self._issued: dict[str, tuple[str, float]] = {}
        self.revoked: set[str] = set()
        self.lifetime_s = lifetime_s
        self.issued_count = 0

    def credential_file(self, user_id: str, token_uri: str) -> dict[str, str]:
        """The JSON that Google would hand out for the user. Raises KeyError."""
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
        if user in self.revoked:
            raise InvalidGrant("Token has been expired or revoked.")
        token = secrets.token_urlsafe(24)
        self._issued[token] = (user, now + self.lifetime_s)
        self.issued_count += 1
        return {"access_token": token, "expires_in": self.lifetime_s, "token_type": "Bearer"}

    def _by_refresh_token(self, form: Mapping[str, str]) -> str:
        given = form.get("refresh_token", "")
        user = next((user for user, secret in self._secrets.items() if secret == given), None)
        if user is None or form.get("client_id") != _CLIENT_ID or self._users[user].kind != "authorized_user":
            raise InvalidGrant("Bad Request")
        return user

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
