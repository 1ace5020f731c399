"""What an error response of Search Console means, how long to wait before a retry, and how long a halt lasts. Pure.

Responses are sorted by reason, then by message, and by status last: a 403 can be a call rate, a spent budget or a
missing permission. Source: Google's error reference, and public issue threads for the messages.
"""

import math
from datetime import datetime, timedelta

import msgspec

from fetcher.outcome import Dead, Deferred, Failure, HaltOrder, Retry, ScopeKind
from fetcher.response import UNDECODABLE
from pipeline.contracts.messages import Batch, Control
from pipeline.pacific import next_pacific_day

LOAD_PAUSE_S = 15 * 60.0
"""Google's advice for a spent load quota."""
SPENT_FOR_THE_DAY_WITHIN = timedelta(hours=1)
"""A budget that is refused again so soon after a pause is spent for the day."""
BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 60.0


class _Item(msgspec.Struct):
    reason: str = ""


class _Error(msgspec.Struct):
    message: str = ""
    errors: list[_Item] = []


class _Body(msgspec.Struct):
    error: _Error = msgspec.field(default_factory=_Error)


_decoder = msgspec.json.Decoder(_Body)
_RATE_REASONS: dict[str, ScopeKind] = {
    "quotaExceeded": "property",
    "rateLimitExceeded": "property",
    "userRateLimitExceeded": "credential",
}
_DAILY_REASONS = frozenset({"dailyLimitExceeded", "dailyLimitExceededUnreg"})


def outcome_of(status: int, body: bytes, retry_after_s: float | None = None) -> Failure:
    """Return what a response means whose status is not 200; `retry_after_s` is the value of its Retry-After header."""
    error = _decode_error(body)
    detail = f"HTTP {status}: {error.message[:500]}"
    if status in (403, 429) and (limited := _quota_outcome(status, error, retry_after_s)):
        return limited
    if status == 401:
        return Retry("unauthorized", after_s=0.0, counts=False, refresh_token=True)
    if status == 408 or status >= 500:
        return Retry(f"http_{status}", retry_after_s)
    if not error.message:
        # Google explains each of its errors: this is the answer of a proxy, or of another server. It may concern one
        # property only, so it counts like a timeout.
        return Retry(f"http_{status} without an error of Google", retry_after_s)
    if status in (403, 404):
        return Dead("permission", detail, HaltOrder("property", "permission", detail))
    return Dead("bad_request", detail)


def _quota_outcome(status: int, error: _Error, retry_after_s: float | None) -> Retry | Deferred | None:
    """Return the outcome of a call that a quota refused; None when no quota is the reason."""
    reason = error.errors[0].reason if error.errors else ""
    message = error.message.lower()
    if "load quota" in message:
        return _budget_spent("load_quota", "property")
    if reason in _DAILY_REASONS or "daily limit" in message:
        return _budget_spent("daily_limit", "credential")
    if "for consumer" in message:
        return _consumer_outcome(reason or "quota", message, retry_after_s)
    if "qps" in message or "quota exceeded" in message or reason in _RATE_REASONS:
        return _throttled(reason or "quota", _RATE_REASONS.get(reason, "property"), retry_after_s)
    if "rate limit" in message or status == 429:
        return _throttled(reason or "too_many_requests", _RATE_REASONS.get(reason, "credential"), retry_after_s)
    return None


def _consumer_outcome(reason: str, message: str, retry_after_s: float | None) -> Retry | Deferred:
    """Return the outcome of a refusal that names the project as the consumer, and the limit, such as "... per user"."""
    if "per user" in message:
        return _throttled(reason, "credential", retry_after_s)
    if "per site" in message:
        return _throttled(reason, "property", retry_after_s)
    return (
        _budget_spent("daily_limit", "project")
        if "per day" in message
        else _throttled(reason, "project", retry_after_s)
    )


def _budget_spent(reason: str, kind: ScopeKind) -> Deferred:
    return Deferred(reason, HaltOrder(kind, "budget", reason, LOAD_PAUSE_S))


def _throttled(reason: str, kind: ScopeKind, retry_after_s: float | None) -> Retry:
    # Without Retry-After the token bucket alone decides when the next call may start.
    return Retry(reason, after_s=retry_after_s or 0.0, counts=False, throttled=kind)


def _decode_error(body: bytes) -> _Error:
    try:
        return _decoder.decode(body).error
    except UNDECODABLE:  # the page of a proxy, or an empty body
        return _Error()


def full_jitter(attempt: int, draw: float) -> float:
    """Return the seconds to wait after attempt number `attempt` has failed; `draw` is uniform in [0, 1).

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog.
    """
    return draw * min(BACKOFF_MAX_S, math.ldexp(BACKOFF_FIRST_S, min(attempt, 30)))


def retry_delay(retry: Retry, attempt: int, draw: float) -> float:
    """Return the seconds until a page may be tried again whose attempt number `attempt` has failed."""
    backoff = full_jitter(attempt, draw) if retry.counts or retry.after_s is None else 0.0
    return max(backoff, retry.after_s or 0.0)


def scope_of(batch: Batch, kind: ScopeKind) -> str:
    """Return the batch's halt scope of a kind."""
    name = {"property": batch.property, "credential": batch.credential, "project": batch.project}[kind]
    return f"{kind}:{name}"


def halt_end(order: HaltOrder, previous: Control | None, now: datetime) -> datetime | None:
    """Return when a halt ends; None when an operator must resume the scope.

    `previous` is the ended budget halt of the scope, if there is one. A budget that is refused again soon after it
    is spent until the next Pacific day.
    """
    if order.pause_s is None:
        return None
    if previous is not None and previous.until is not None and now < previous.until + SPENT_FOR_THE_DAY_WITHIN:
        return next_pacific_day(now)
    return now + timedelta(seconds=order.pause_s)
