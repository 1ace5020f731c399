"""The OAuth token endpoints: they exchange service-account assertions, refresh tokens and tokens of other platforms for
access tokens.

An access token contains its user and expiry and is signed, so with the same keys it is valid after a restart.
"""

import base64
import hmac
import json
import secrets
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlencode

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from lab.search_console.keys import Keys, pem_of
from lab.search_console.refusals import Refused, TokenRefused, bad_request
from lab.search_console.settings import User

_SCOPE = "https://www.googleapis.com/auth/webmasters"
_SCOPES = (_SCOPE, f"{_SCOPE}.readonly")
_CLIENT_ID = "simulated-client"
_POOL = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/simulated/providers/simulated"
_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:"  # noqa: S105 - RFC 8693
_REVOKED = "Token has been expired or revoked."
_ACCESS, _EXCHANGED, _SECRET, _CODE = "access", "exchanged", "secret", "code"


class Tokens:
    """Accounts and the tokens issued to them."""

    def __init__(self, users: tuple[User, ...], lifetime_s: int, keys: Keys, *, promise_s: int | None = None) -> None:
        self._users = {user.id: user for user in users}
        self._keys = keys
        self._owners = {keys.derived(_SECRET, user.id): user for user in users}
        self._epochs: Counter[str] = Counter()
        self.revoked: set[str] = set()
        self.lifetime_s = lifetime_s
        self.promise_s = promise_s
        """The lifetime in the answer, when it is not the real one."""
        self.issued_count = 0

    def credential_file(self, user_id: str, root: str) -> dict[str, Any]:
        """Return the credential file that Google would issue, with addresses below `root`. Raises KeyError."""
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
                "refresh_token": self._keys.derived(_SECRET, user_id),
                "token_uri": token_uri,
            }
        return {
            "type": "service_account",
            "project_id": "simulated",
            "private_key_id": "1",
            "private_key": pem_of(self._keys.private(user_id)).decode(),
            "client_email": user_id,
            "client_id": "1",
            "token_uri": token_uri,
        }

    def subject_token(self, user_id: str) -> str:
        """Return the token that the workload's platform would issue. Raises KeyError."""
        return self._keys.derived(_SECRET, self._users[user_id].id)

    def claimant(self, form: Mapping[str, str]) -> str:
        """Return the user that a token request names, unverified; empty when it names none."""
        owner = self._owners.get(form.get("refresh_token") or form.get("subject_token") or "")
        if owner is not None:
            return owner.id
        try:
            return str(_claims(form.get("assertion", "")).get("iss", ""))
        except (ValueError, TypeError):
            return ""

    def grant(self, form: Mapping[str, str], now: float) -> dict[str, Any]:
        """Answer the token endpoint; `now` is in seconds since 1970. Raises Refused."""
        if form.get("grant_type") == "authorization_code":
            more = self._by_code(form)
            user = more.pop("user")
        else:
            more = {}
            user = self._by_assertion(form, now) if "assertion" in form else self._by_refresh_token(form)
        return {"access_token": self._issue(user, now), "expires_in": self._promised_s, "token_type": "Bearer", **more}

    def exchange(self, form: Mapping[str, str], now: float) -> dict[str, Any]:
        """Answer the token exchange (RFC 8693) with a token for impersonation. Raises Refused."""
        user = self._by_secret(form.get("subject_token", ""), "external_account")
        if form.get("audience") != _POOL:
            raise TokenRefused("Invalid value for audience.")
        token = self._signed(_EXCHANGED, user, now)
        kind = f"{_TOKEN_TYPE}access_token"
        return {
            "access_token": token,
            "issued_token_type": kind,
            "expires_in": self._promised_s,
            "token_type": "Bearer",
        }

    def impersonate(self, user_id: str, authorization: str, body: object, now: float) -> dict[str, Any]:
        """Answer generateAccessToken. Raises Refused."""
        if self._bearer(_EXCHANGED, authorization, now) != user_id:
            raise Refused(403, "Permission 'iam.serviceAccounts.getAccessToken' denied.", reason="forbidden")
        scopes = body.get("scope") if isinstance(body, dict) else None
        if not isinstance(scopes, list) or not set(_SCOPES) & set(map(str, scopes)):
            raise Refused(400, "The scope is missing.", reason="badRequest")
        if user_id in self.revoked:
            raise Refused(403, _REVOKED, reason="forbidden")
        until = datetime.fromtimestamp(now + self._promised_s, UTC)
        return {"accessToken": self._issue(user_id, now), "expireTime": f"{until:%Y-%m-%dT%H:%M:%SZ}"}

    @property
    def _promised_s(self) -> int:
        return self.lifetime_s if self.promise_s is None else self.promise_s

    def _issue(self, user: str, now: float) -> str:
        if user in self.revoked:
            raise TokenRefused(_REVOKED)
        self.issued_count += 1
        return self._signed(_ACCESS, user, now)

    def _signed(self, purpose: str, user: str, now: float) -> str:
        content = json.dumps([user, now + self.lifetime_s, self._epochs[user], secrets.token_urlsafe(6)])
        payload = base64.urlsafe_b64encode(content.encode()).decode()
        return f"{payload}.{self._keys.derived(purpose, payload)}"

    def _bearer(self, purpose: str, authorization: str, now: float) -> str | None:
        kind, _, token = authorization.partition(" ")
        payload, _, signature = token.partition(".")
        if kind.lower() != "bearer" or not hmac.compare_digest(
            signature.encode(errors="replace"), self._keys.derived(purpose, payload).encode()
        ):
            return None
        user, until, epoch, _ = json.loads(_decoded(payload))
        expired = now >= until or (purpose == _ACCESS and epoch < self._epochs[user])
        return None if expired or user not in self._users else str(user)

    def user_of(self, authorization: str, now: float) -> str | None:
        """Return the user of an Authorization header, or None when the token is unknown or has expired."""
        user = self._bearer(_ACCESS, authorization, now)
        return None if user in self.revoked else user

    def expire(self, user: str | None = None) -> None:
        """Invalidate the access tokens issued so far: of one user, or of all. Raises KeyError."""
        for name in self._users if user is None else [self._users[user].id]:
            self._epochs[name] += 1

    def _by_refresh_token(self, form: Mapping[str, str]) -> str:
        if form.get("client_id") != _CLIENT_ID:
            raise TokenRefused("Bad Request")
        user = self._by_secret(form.get("refresh_token", ""), "authorized_user")
        if form.get("scope", _SCOPES[1]) != _SCOPES[1]:
            raise TokenRefused("Some requested scopes were invalid.", reason="invalid_scope")
        return user

    def _by_secret(self, given: str, kind: str) -> str:
        owner = self._owners.get(given)
        if owner is None or owner.kind != kind:
            raise TokenRefused("Bad Request")
        return owner.id

    def _by_assertion(self, form: Mapping[str, str], now: float) -> str:
        signed, _, signature = form["assertion"].rpartition(".")
        try:
            claims = _claims(form["assertion"])
            account = self._users[str(claims.get("iss"))]
            user = account.id
            key = self._keys.private(user).public_key()
            key.verify(_decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
            in_time = float(claims.get("iat", 0)) - 300 <= now <= float(claims.get("exp", 0))
        except (ValueError, TypeError, KeyError, OverflowError, InvalidSignature) as error:
            raise TokenRefused("Invalid JWT Signature.") from error
        if not in_time or not set(_SCOPES) & set(str(claims.get("scope", "")).split()):
            raise TokenRefused("Invalid JWT: expired, or without the scope.")
        return _delegated(account, str(claims.get("sub", user)))

    def client_secrets(self, root: str) -> dict[str, Any]:
        """Return the file of client secrets of an application on the user's machine, with addresses below `root`."""
        addresses = {"auth_uri": f"{root}/o/oauth2/auth", "token_uri": f"{root}/token"}
        return {"installed": {"client_id": _CLIENT_ID, "client_secret": "simulated", **addresses}}

    def consent(self, query: Mapping[str, str]) -> str:
        """Return the address to which Google sends the browser: the first authorized user consents. Raises Refused."""
        redirect = query.get("redirect_uri", "")
        if query.get("client_id") != _CLIENT_ID or not redirect.startswith("http://localhost:"):
            raise bad_request("invalid_request: redirect_uri_mismatch")
        state = query.get("state", "")
        user = next((user.id for user in self._users.values() if user.kind == "authorized_user"), None)
        if user is None or user in self.revoked:
            return f"{redirect}?{urlencode({'error': 'access_denied', 'state': state})}"
        content = json.dumps([user, query.get("code_challenge", ""), redirect])
        payload = base64.urlsafe_b64encode(content.encode()).decode()
        code = f"{payload}.{self._keys.derived(_CODE, payload)}"
        return f"{redirect}?{urlencode({'code': code, 'state': state, 'scope': query.get('scope', '')})}"

    def _by_code(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Return the fields that only the answer to a code has: RFC 6749, section 4.1, with the proof of RFC 7636."""
        payload, _, signature = form.get("code", "").partition(".")
        if not hmac.compare_digest(signature.encode(errors="replace"), self._keys.derived(_CODE, payload).encode()):
            raise TokenRefused("Malformed auth code.")
        user, challenge, redirect = json.loads(_decoded(payload))
        digest = sha256(form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).decode().rstrip("=") != challenge or form.get("redirect_uri") != redirect:
            raise TokenRefused("Invalid code verifier.")
        return {"user": user, "refresh_token": self._keys.derived(_SECRET, user), "scope": _SCOPES[1]}


def _delegated(account: User, subject: str) -> str:
    """Return the user for whom a service account acts: itself, or one of its domain. Raises Refused."""
    if subject not in (account.id, *account.delegates):
        raise TokenRefused(
            "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of"
            " the scopes requested.",
            reason="unauthorized_client",
            status=401,
        )
    return subject


def _claims(assertion: str) -> dict[str, Any]:
    """Return the claims of a JWT, unverified. Raises ValueError or TypeError."""
    try:
        claims = json.loads(_decoded(assertion.rpartition(".")[0].partition(".")[2]))
    except RecursionError as error:
        raise ValueError("The claims of a JWT are nested too deeply.") from error
    if not isinstance(claims, dict):
        raise TypeError("The claims of a JWT are an object.")
    return claims


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
