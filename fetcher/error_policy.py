"""What an answer of Search Console that is not a page means, and what is to be done. Pure.

Sorted by reason, then by message, and by status last: a 403 can be a rate, a spent budget or a missing permission.
Source: Google's error reference, and public issue threads for the messages.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

Scope = Literal["property", "credential", "project"]

LOAD_PAUSE_S = 15 * 60.0
"""Google's advice for a spent load quota."""


@dataclass(frozen=True)
class Retry:
    """Passing: try again, a bounded number of times."""

    reason: str
    retry_after: float | None = None


@dataclass(frozen=True)
class Wait:
    """Too fast for this scope: wait, cut the rate; costs no attempt."""

    reason: str
    scope: Scope
    retry_after: float | None = None


@dataclass(frozen=True)
class Park:
    """A budget of this scope is spent: halt the scope for so many seconds; costs no attempt."""

    reason: str
    scope: Scope
    seconds: float = LOAD_PAUSE_S


@dataclass(frozen=True)
class Refresh:
    """The token is refused: get another and try once more; the second time, halt the credential."""

    reason: str = "unauthorized"


@dataclass(frozen=True)
class Dead:
    """Our request is wrong and stays wrong."""

    reason: str
    detail: str


@dataclass(frozen=True)
class DeadAndHalt:
    """Nothing of this scope can succeed until somebody mends it."""

    reason: str
    scope: Scope
    detail: str


Verdict = Retry | Wait | Park | Refresh | Dead | DeadAndHalt


def in_words(verdict: Verdict) -> str:
    """A verdict for people."""
    return f"{verdict.reason}: {verdict.detail}" if isinstance(verdict, Dead | DeadAndHalt) else verdict.reason


class _Item(msgspec.Struct):
    reason: str = ""
    domain: str = ""


class _Error(msgspec.Struct):
    message: str = ""
    status: str = ""
    errors: list[_Item] = []


class _Body(msgspec.Struct):
    error: _Error = msgspec.field(default_factory=_Error)


_decoder = msgspec.json.Decoder(_Body)
_RATE_REASONS: dict[str, Scope] = {
    "quotaExceeded": "property",
    "rateLimitExceeded": "property",
    "userRateLimitExceeded": "credential",
}
_DAILY = frozenset({"dailyLimitExceeded", "dailyLimitExceededUnreg"})
_TRANSIENT = frozenset({408, 500, 502, 503, 504})


def judge(status: int, body: bytes, retry_after: float | None = None) -> Verdict:
    """The verdict on an answer whose status is not 200. `retry_after` in seconds, from the header."""
    error = _error(body)
    reason = error.errors[0].reason if error.errors else ""
    message = error.message.lower()
    if status in (403, 429) and (limited := _limited(status, reason, message, retry_after)):
        return limited
    if status == 401:
        return Refresh()
    if status in (403, 404):
        return DeadAndHalt("permission", "property", _detail(status, error))
    if status in _TRANSIENT or status >= 500:
        return Retry(f"http_{status}", retry_after)
    return Dead("bad_request", _detail(status, error))


def _limited(status: int, reason: str, message: str, retry_after: float | None) -> Wait | Park | None:
    if "load quota" in message:
        return Park("load_quota", "property")
    if reason in _DAILY or "daily limit" in message:
        return Park("daily_limit", "credential")
    if "qps" in message or "quota exceeded" in message or reason in _RATE_REASONS:
        return Wait(reason or "quota", _RATE_REASONS.get(reason, "property"), retry_after)
    if "rate limit" in message or status == 429:
        return Wait(reason or "too_many_requests", _RATE_REASONS.get(reason, "credential"), retry_after)
    return None


def _error(body: bytes) -> _Error:
    try:
        return _decoder.decode(body).error
    except msgspec.DecodeError:  # a proxy's page, or nothing
        return _Error()


def _detail(status: int, error: _Error) -> str:
    return f"HTTP {status}: {error.message[:500] or 'no message'}"
