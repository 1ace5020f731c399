"""The outcome of a call to Search Console: one type from the response of the API to the fetcher's loop. Pure.

A transport returns what the response means. `page_call` acts on it (rate limiter, halts, Kafka) and returns an outcome
of the same type; the loop then only decides whether the page is tried again.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from fetcher.chunks import FetchedPage, UnchangedPage
from pipeline.contracts.messages import Cause

ScopeKind = Literal["property", "credential", "project"]
"""The kinds of scope that have a quota."""


class Admission(Protocol):
    """Room in memory for the pages of one response."""

    async def admit(self) -> None:
        """Wait until the body may be read."""

    async def reserve(self, size: int) -> None:
        """Wait until the body may be decoded, to `size` bytes."""


@dataclass(frozen=True)
class HaltOrder:
    """A halt of the page's scope of this kind."""

    kind: ScopeKind
    cause: Cause
    reason: str
    pause_s: float | None = None
    """Seconds until the halt ends. None: it lasts until an operator resumes the scope."""


@dataclass(frozen=True)
class Done:
    """The page was fetched."""

    page: FetchedPage | UnchangedPage


@dataclass(frozen=True)
class Retry:
    """The page is tried again."""

    reason: str
    after_s: float | None = None
    """The shortest delay in seconds. None: only the exponential backoff decides."""
    counts: bool = True
    """Whether the page may be at fault: the call uses one of its attempts, except in an outage. If so, the delay is an
    exponential backoff with jitter."""
    outage: bool = False
    """Whether the page is not at fault in any case: there is no access token, or other pages fail, too."""
    throttled: ScopeKind | None = None
    """The scope whose call rate was refused: its token bucket slows down."""
    refresh_token: bool = False
    """The API refused the access token: the next call uses another one."""


@dataclass(frozen=True)
class Deferred:
    """A scope of the page is halted, or must be halted by the order `halt`. The page becomes pending again."""

    reason: str
    halt: HaltOrder | None = None


@dataclass(frozen=True)
class Dead:
    """The page can never be fetched; `halt` is set when nothing else of that scope can be fetched either."""

    reason: str
    """A word of the table in docs/states.md, such as `bad_request`."""
    detail: str
    halt: HaltOrder | None = None
    counts: bool = True
    """Whether the page counts towards the dead-letter limit: a catalog that is behind is no fault of the messages."""


Failure = Retry | Deferred | Dead
Outcome = Done | Retry | Deferred | Dead


def describe(failure: Failure) -> str:
    """Return the failure as text for an error message."""
    return f"{failure.reason}: {failure.detail}" if isinstance(failure, Dead) else failure.reason


def metric_label(outcome: Outcome) -> str:
    """Return the value of the label `outcome` of the metric gsc_calls_total."""
    match outcome:
        case Done():
            return "done"
        case Retry(refresh_token=True):
            return "unauthorized"
        case Retry(throttled=None):
            return "retry"
        case Retry():
            return "throttled"
        case Deferred():
            return "deferred"
        case Dead():
            return "dead"
