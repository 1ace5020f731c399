import json

import pytest

from fetcher.error_policy import LOAD_PAUSE_S, Dead, DeadAndHalt, Park, Refresh, Retry, Verdict, Wait, in_words, judge


def body(message: str = "", reason: str = "", domain: str = "usageLimits") -> bytes:
    error: dict[str, object] = {"code": 403, "message": message}
    if reason:
        error["errors"] = [{"domain": domain, "reason": reason, "message": message}]
    return json.dumps({"error": error}).encode()


@pytest.mark.parametrize(
    ("status", "content", "expected"),
    [
        (429, b"", Wait("too_many_requests", "credential")),
        (403, body("Search Analytics QPS quota exceeded", "quotaExceeded"), Wait("quotaExceeded", "property")),
        (403, body("Search Analytics QPS quota exceeded"), Wait("quota", "property")),
        (403, body("Rate Limit Exceeded", "rateLimitExceeded"), Wait("rateLimitExceeded", "property")),
        (403, body("User Rate Limit Exceeded", "userRateLimitExceeded"), Wait("userRateLimitExceeded", "credential")),
        (
            403,
            body("Search Analytics load quota exceeded", "quotaExceeded"),
            Park("load_quota", "property", LOAD_PAUSE_S),
        ),
        (403, body("Daily Limit Exceeded", "dailyLimitExceeded"), Park("daily_limit", "credential")),
        (401, body("Invalid Credentials", "authError", "global"), Refresh()),
        (403, body("no", "forbidden", "global"), DeadAndHalt("permission", "property", "HTTP 403: no")),
        (403, body("no", "insufficientPermissions", "global"), DeadAndHalt("permission", "property", "HTTP 403: no")),
        (403, b"<html>", DeadAndHalt("permission", "property", "HTTP 403: no message")),
        (404, body("gone"), DeadAndHalt("permission", "property", "HTTP 404: gone")),
        (400, body("bad startDate"), Dead("bad_request", "HTTP 400: bad startDate")),
        (500, b"", Retry("http_500")),
        (502, b"", Retry("http_502")),
        (503, b"[]", Retry("http_503")),
        (504, b"", Retry("http_504")),
    ],
)
def test_the_table_of_answers(status: int, content: bytes, expected: Verdict) -> None:
    assert judge(status, content) == expected


def test_verdicts_in_words() -> None:
    assert in_words(judge(404, body("gone"))) == "permission: HTTP 404: gone"
    assert in_words(judge(401, b"")) == "unauthorized"


def test_retry_after_is_kept() -> None:
    assert judge(429, b"", 7.0) == Wait("too_many_requests", "credential", 7.0)
    assert judge(503, b"", 7.0) == Retry("http_503", 7.0)
