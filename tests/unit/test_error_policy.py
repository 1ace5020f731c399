"""What responses mean, how long retries wait, and how long halts last."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fetcher.error_policy import (
    BACKOFF_MAX_S,
    LOAD_PAUSE_S,
    full_jitter,
    halt_end,
    outcome_of,
    retry_delay,
    scope_of,
)
from fetcher.outcome import Dead, Deferred, Failure, HaltOrder, Retry, ScopeKind
from pipeline.contracts.halts import Halts
from pipeline.contracts.messages import Control
from pipeline.pacific import next_pacific_day
from support.examples import NOW, a_batch

LOAD_QUOTA = HaltOrder("property", "budget", "load_quota", LOAD_PAUSE_S)
UNAUTHORIZED = Retry("unauthorized", after_s=0.0, counts=False, refresh_token=True)


def body(message: str = "", reason: str = "", domain: str = "usageLimits") -> bytes:
    error: dict[str, object] = {"code": 403, "message": message}
    if reason:
        error["errors"] = [{"domain": domain, "reason": reason, "message": message}]
    return json.dumps({"error": error}).encode()


def throttled(reason: str, kind: ScopeKind, after_s: float = 0.0) -> Retry:
    return Retry(reason, after_s=after_s, counts=False, throttled=kind)


def foreign(status: int) -> Retry:
    return Retry(f"http_{status} without an error of Google")


def no_permission(detail: str) -> Dead:
    return Dead("permission", detail, HaltOrder("property", "permission", detail))


@pytest.mark.parametrize(
    ("status", "content", "expected"),
    [
        (429, b"", throttled("too_many_requests", "credential")),
        (403, body("Search Analytics QPS quota exceeded", "quotaExceeded"), throttled("quotaExceeded", "property")),
        (403, body("Search Analytics QPS quota exceeded"), throttled("quota", "property")),
        (403, body("Rate Limit Exceeded", "rateLimitExceeded"), throttled("rateLimitExceeded", "property")),
        (
            403,
            body("User Rate Limit Exceeded", "userRateLimitExceeded"),
            throttled("userRateLimitExceeded", "credential"),
        ),
        (403, body("Rate limit hit"), throttled("too_many_requests", "credential")),
        (403, body("Search Analytics load quota exceeded", "quotaExceeded"), Deferred("load_quota", LOAD_QUOTA)),
        (
            403,
            body("Daily Limit Exceeded", "dailyLimitExceeded"),
            Deferred("daily_limit", HaltOrder("credential", "budget", "daily_limit", LOAD_PAUSE_S)),
        ),
        (401, body("Invalid Credentials", "authError", "global"), UNAUTHORIZED),
        (403, body("no", "forbidden", "global"), no_permission("HTTP 403: no")),
        (403, body("no", "insufficientPermissions", "global"), no_permission("HTTP 403: no")),
        (403, b"<html>", foreign(403)),
        (403, b"", foreign(403)),
        (403, b'{"error": "blocked by policy"}', foreign(403)),
        (403, b'{"message": "Forbidden"}', foreign(403)),
        (404, b"<html>", foreign(404)),
        (400, b"<html>", foreign(400)),
        (302, b"", foreign(302)),
        (407, b"<html>", foreign(407)),
        (404, body("gone"), no_permission("HTTP 404: gone")),
        (400, body("bad startDate"), Dead("bad_request", "HTTP 400: bad startDate")),
        (408, b"", Retry("http_408")),
        (500, b"", Retry("http_500")),
        (502, b"", Retry("http_502")),
        (503, b"[]", Retry("http_503")),
        (503, b'{"error": {"message": "\xff"}}', Retry("http_503")),
        (503, b'{"x": ' + b"[" * 100_000, Retry("http_503")),
        (504, b"", Retry("http_504")),
    ],
)
def test_each_response_of_the_table_has_its_outcome(status: int, content: bytes, expected: Failure) -> None:
    assert outcome_of(status, content) == expected


def test_the_seconds_of_retry_after_are_kept() -> None:
    assert outcome_of(429, b"", 7.0) == throttled("too_many_requests", "credential", 7.0)
    assert outcome_of(503, b"", 7.0) == Retry("http_503", 7.0)


def test_the_backoff_grows_and_is_bounded() -> None:
    assert [full_jitter(attempt, 1.0) for attempt in range(3)] == [1.0, 2.0, 4.0]
    assert full_jitter(40, 1.0) == BACKOFF_MAX_S
    assert full_jitter(3, 0.0) == 0.0


@pytest.mark.parametrize(
    ("retry", "draw", "delay"),
    [
        (Retry("http_500"), 0.5, 4.0),
        (Retry("http_503", after_s=7.0), 0.5, 7.0),
        (Retry("http_503", after_s=7.0), 1.0, 8.0),
        (Retry("quota", after_s=7.0, counts=False), 1.0, 7.0),
        (Retry("quota", after_s=0.0, counts=False), 1.0, 0.0),
        (Retry("x", counts=False), 0.5, 4.0),
    ],
)
def test_a_retry_that_counts_backs_off_and_another_waits_as_long_as_it_says(
    retry: Retry, draw: float, delay: float
) -> None:
    assert retry_delay(retry, 3, draw) == delay


def test_a_halt_is_for_the_scope_of_its_kind() -> None:
    assert scope_of(a_batch(), "credential") == "credential:acme"
    assert scope_of(a_batch(), "property") == "property:sc-domain:example.com"
    assert scope_of(a_batch(project="agency"), "project") == "project:agency"


@pytest.mark.parametrize(
    ("limit", "kind"),
    [
        ("Search Analytics queries per minute", "project"),
        ("Search Analytics queries per minute per user", "credential"),
        ("Search Analytics queries per minute per site", "property"),
    ],
)
def test_a_refusal_that_names_its_consumer_is_of_the_scope_of_its_limit(limit: str, kind: str) -> None:
    refusal = outcome_of(429, consumer_error(limit))
    assert isinstance(refusal, Retry)
    assert (refusal.throttled, refusal.counts) == (kind, False)


def test_the_spent_day_of_a_project_halts_the_project() -> None:
    spent = outcome_of(429, consumer_error("Search Analytics queries per day"))
    assert spent == Deferred("daily_limit", HaltOrder("project", "budget", "daily_limit", LOAD_PAUSE_S))


def consumer_error(limit: str) -> bytes:
    text = (
        f"Quota exceeded for quota metric 'Queries' and limit '{limit}' of service 's' for consumer 'project_number:1'."
    )
    return json.dumps({"error": {"message": text, "errors": [{"reason": "rateLimitExceeded"}]}}).encode()


def test_a_halt_without_a_pause_has_no_end() -> None:
    assert halt_end(HaltOrder("property", "permission", "no"), None, NOW) is None


def test_a_spent_budget_pauses_for_a_quarter_of_an_hour_and_then_until_the_next_day() -> None:
    halts = Halts()
    first = halt_end(LOAD_QUOTA, halts.ended_budget_halt(["all"], NOW), NOW)
    assert first == NOW + timedelta(seconds=LOAD_PAUSE_S)
    halts.apply(Control(scope="all", state="halted", reason="r", actor="a", at=NOW, until=first, cause="budget"))
    assert halt_end(LOAD_QUOTA, halts.ended_budget_halt(["all"], first), first) == next_pacific_day(first)
    later = first + timedelta(hours=2)  # refused again long after: a pause like the first
    assert halt_end(LOAD_QUOTA, halts.ended_budget_halt(["all"], later), later) == later + timedelta(
        seconds=LOAD_PAUSE_S
    )


@pytest.mark.parametrize(
    ("moment", "midnight"),
    [
        (datetime(2026, 3, 11, 6, 59, tzinfo=UTC), datetime(2026, 3, 11, 7, 0, tzinfo=UTC)),
        (datetime(2026, 3, 11, 7, 0, tzinfo=UTC), datetime(2026, 3, 12, 7, 0, tzinfo=UTC)),
    ],
)
def test_days_begin_at_midnight_in_california(moment: Any, midnight: Any) -> None:
    assert next_pacific_day(moment) == midnight
