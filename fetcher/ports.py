"""What the fetcher talks to, as it sees it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fetcher.chunks import FetchedPage
from fetcher.error_policy import Verdict
from fetcher.results import ResultPublisher
from pipeline.consumer_group import OffsetCommit
from pipeline.contracts.halts import Halts
from pipeline.contracts.messages import Batch

Admit = Callable[[], Awaitable[None]]


class Watching(Protocol):
    """What is halted."""

    halts: Halts

    def readable(self, monotonic_now: float) -> bool:
        """Whether the halts are known."""


class Calling(Protocol):
    """The API."""

    async def query(self, batch: Batch, token: str, admit: Admit) -> FetchedPage | Verdict:
        """Fetch a page."""


class Authorizing(Protocol):
    """Access tokens."""

    async def token(self, credential: str) -> str:
        """A valid token. Raises Retryable or Fatal."""

    async def replace(self, credential: str, refused: str) -> None:
        """Get another one than the one that was refused. Raises Retryable or Fatal."""


class Pressure(Protocol):
    """Whether the sink is too far behind."""

    closed: bool
    lag: int


class Member(Protocol):
    """Our membership in the consumer group."""

    lease_until: float

    async def commit(self, commits: Sequence[OffsetCommit]) -> None:
        """Commit offsets; success renews the lease. Raises Retryable."""


@dataclass(frozen=True)
class Ports:
    """What the fetcher talks to."""

    search_console: Calling
    tokens: Authorizing
    delivery: ResultPublisher
    control: Watching
    pressure: Pressure
    member: Member
