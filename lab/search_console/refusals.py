"""Error answers in Google's format: the API's, and those of the OAuth endpoints. Pure."""

import json
from collections.abc import Mapping
from typing import Any


class Refused(Exception):
    """An error answer."""

    def __init__(self, status: int, message: str, *, reason: str = "", domain: str = "global") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.reason = reason
        self.domain = domain
        self.retry_after: int | None = None

    def body(self) -> bytes:
        """Return the body in the API's format."""
        error: dict[str, Any] = {"code": self.status, "message": self.message}
        if self.reason:
            error["errors"] = [{"domain": self.domain, "reason": self.reason, "message": self.message}]
        return json.dumps({"error": error}).encode()


class TokenRefused(Refused):
    """An error answer of an OAuth endpoint (RFC 6749, section 5.2); `reason` is the error code."""

    def __init__(self, message: str, *, reason: str = "invalid_grant", status: int = 400) -> None:
        super().__init__(status, message, reason=reason)

    def body(self) -> bytes:
        """Return the body in OAuth's format."""
        return json.dumps({"error": self.reason, "error_description": self.message}).encode()


_OAUTH_NAMES = {400: "invalid_grant", 401: "invalid_client", 403: "access_denied", 429: "rate_limit_exceeded"}


def of_oauth(refused: Refused) -> TokenRefused:
    """Return the refusal as an error of an OAuth endpoint."""
    if isinstance(refused, TokenRefused):
        return refused
    name = _OAUTH_NAMES.get(refused.status, "internal_failure")
    error = TokenRefused(refused.message, reason=name, status=refused.status)
    error.retry_after = refused.retry_after
    return error


def bad_request(message: str) -> Refused:
    """Return a 400."""
    return Refused(400, message, reason="invalidParameter")


def check_names(given: Mapping[str, Any], known: set[str]) -> None:
    """Check the field names. Raises Refused for an unknown one."""
    if unknown := sorted(set(given) - known):
        raise bad_request(f'Invalid JSON payload received. Unknown name "{unknown[0]}": Cannot find field.')


def forbidden(site: str) -> Refused:
    """Return a 403: the property is unknown, or the user may not read it."""
    message = (
        f"User does not have sufficient permission for site '{site}'. See also: https://support.google.com/webmasters"
    )
    return Refused(403, message, reason="forbidden")
