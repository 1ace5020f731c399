"""Faults on request: which call is hit, and the answers that are merely wrong status codes."""

from datetime import date

from lab.search_console.answers import Refused
from lab.search_console.settings import Fault, FaultKind

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


def refusal_of(kind: FaultKind) -> Refused | None:
    """The error answer of a fault, or None when the fault is of another kind (stall, reset, ...)."""
    if kind not in _ANSWERS:
        return None
    status, message, reason, domain = _ANSWERS[kind]
    return Refused(status, message, reason=reason, domain=domain)


class Faults:
    """The faults in force, in their order; the first that matches a call hits it."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        self.replace(faults)

    def replace(self, faults: tuple[Fault, ...]) -> None:
        """Put other faults in force."""
        self._faults = list(faults)
        self._seen = [0] * len(faults)

    def hit(self, site: str, user: str, day: date | None) -> Fault | None:
        """The fault that hits this call, or None."""
        for number, fault in enumerate(self._faults):
            if fault.count == 0 or (fault.site, fault.user) not in (
                (site, user), ("", user), (site, ""), ("", ""),
            ) or fault.day not in (None, day):  # fmt: skip
                continue
            self._seen[number] += 1
            if self._seen[number] % fault.every == 0:
                if fault.count is not None:
                    fault.count -= 1
                return fault
        return None
