"""Injected faults: which calls they match, and how they change the answer. Pure."""

import gzip
from collections.abc import Iterator
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from lab.search_console.call_journal import Call
from lab.search_console.refusals import Refused
from lab.search_console.settings import CallKind, Fault, FaultKind

Cut = Literal["", "reset", "truncated", "truncated_gzip"]
_CUTS: tuple[Cut, ...] = ("reset", "truncated", "truncated_gzip")
STEP_S = 0.2
"""Seconds between two bytes of a body that trickles: less than any timeout of a single read."""
_USAGE = "usageLimits"
_ANSWERS: dict[FaultKind, tuple[int, str, str, str]] = {
    "429": (429, "Too many requests.", "rateLimitExceeded", _USAGE),
    "forbidden": (403, "User does not have sufficient permission for site.", "forbidden", "global"),
    "insufficientPermissions": (
        403,
        "Request had insufficient authentication scopes.",
        "insufficientPermissions",
        "global",
    ),
    "quotaExceeded": (403, "Search Analytics QPS quota exceeded. Learn about usage limits.", "quotaExceeded", _USAGE),
    "rateLimitExceeded": (403, "Rate Limit Exceeded", "rateLimitExceeded", _USAGE),
    "userRateLimitExceeded": (403, "User Rate Limit Exceeded", "userRateLimitExceeded", _USAGE),
    "dailyLimitExceeded": (403, "Daily Limit Exceeded", "dailyLimitExceeded", _USAGE),
    "loadQuota": (403, "Search Analytics load quota exceeded. Learn about usage limits.", "quotaExceeded", _USAGE),
    "400": (400, "Request contains an invalid argument.", "badRequest", "global"),
    "401": (401, "Request had invalid authentication credentials.", "authError", "global"),
    "404": (404, "Requested entity was not found.", "notFound", "global"),
    "500": (500, "Internal error encountered.", "internalError", "global"),
    "502": (502, "Bad Gateway", "", ""),
    "503": (503, "The service is currently unavailable.", "backendError", "global"),
    "504": (504, "Gateway Timeout", "", ""),
}
_PROXY_PAGE = b"<html>blocked by proxy</html>"
_PROXY_STATUS: dict[FaultKind, int] = {"content_type": 200, "proxy_403": 403, "proxy_404": 404}
"""The status of each fault whose answer is a page of a proxy."""
_WRONG_SHAPE: dict[CallKind, bytes] = {
    "query": b'{"rows": [{"keys": 7}]}',
    "sites": b'{"siteEntry": [7]}',
    "sitemaps": b'{"sitemap": [7]}',
    "token": b'{"token": 7}',
}


class Answer(Struct, frozen=True):
    """An answer. `cut`: how the connection truncates it; `reset` closes the connection of a whole HTTP batch."""

    status: int
    gzipped: bytes
    retry_after: int | None = None
    content_type: str = "application/json; charset=UTF-8"
    cut: Cut = ""
    slow: Fault | None = None
    """A fault that slows the body, also that of a whole HTTP batch."""


def answer_of(refused: Refused) -> Answer:
    """Return the answer for a refused call."""
    return Answer(refused.status, gzip.compress(refused.body(), 1), refused.retry_after)


def refusal_of(kind: FaultKind) -> Refused | None:
    """Return the error of a fault, or None for a fault that is not an error answer (stall, reset, ...)."""
    if kind not in _ANSWERS:
        return None
    status, message, reason, domain = _ANSWERS[kind]
    return Refused(status, message, reason=reason, domain=domain)


def with_fault(answer: Answer, fault: Fault, on: CallKind) -> Answer:
    """Return the answer changed by a fault that is not an error answer. A stall changes nothing."""
    for cut in _CUTS:
        if cut == fault.kind:
            return replace(answer, cut=cut)
    if fault.kind in ("stall_body", "trickle"):
        return replace(answer, slow=fault)
    if status := _PROXY_STATUS.get(fault.kind):
        return replace(answer, status=status, gzipped=gzip.compress(_PROXY_PAGE), content_type="text/html")
    if fault.kind == "invalid_json":
        return replace(answer, gzipped=gzip.compress(b'{"rows": ['))
    if fault.kind == "wrong_shape":
        return replace(answer, gzipped=gzip.compress(_WRONG_SHAPE[on]))
    return answer


def slow_pieces(body: bytes, fault: Fault) -> Iterator[tuple[bytes, float]]:
    """Yield the pieces of a slow body, each with the seconds after it; they are empty while it stalls."""
    steps = max(1, round(fault.seconds / STEP_S))
    if fault.kind == "stall_body":
        pieces = [body[: len(body) // 2]] + [b""] * (steps - 1)
    else:
        pieces = [body[position : position + 1] for position in range(min(len(body) - 1, steps))]
    for piece in pieces:
        yield piece, fault.seconds / len(pieces)
    yield body[sum(map(len, pieces)) :], 0.0


class Faults:
    """The active faults in order; the first one that matches a call applies."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        self.replace(faults)

    def replace(self, faults: tuple[Fault, ...]) -> None:
        """Replace the active faults."""
        self._faults = [replace(fault) for fault in faults]  # copies, since their counts decrease
        self._seen = [0] * len(faults)

    def hit(self, call: Call) -> Fault | None:
        """Return the fault for this call, or None. Raises Refused when the fault is an error answer."""
        fault = self._due(call)
        if fault is None:
            return None
        if refusal := refusal_of(fault.kind):
            call.fault = fault.kind
            refusal.retry_after = fault.retry_after
            raise refusal
        return fault

    def _due(self, call: Call) -> Fault | None:
        for number, fault in enumerate(self._faults):
            if fault.count == 0 or not _matches(fault, call):
                continue
            self._seen[number] += 1
            if self._seen[number] % fault.every == 0:
                if fault.count is not None:
                    fault.count -= 1
                return fault
        return None


def _matches(fault: Fault, call: Call) -> bool:
    return (
        fault.on == call.kind
        and fault.site in ("", call.site)
        and fault.user in ("", call.user)
        and fault.day in (None, call.day)
    )
