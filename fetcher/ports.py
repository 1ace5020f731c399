"""What the fetcher talks to, as it sees it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from fetcher.chunking import FetchedPage
from fetcher.delivering import Delivery
from fetcher.verdict import Verdict
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


@dataclass(frozen=True)
class Ports:
    """What the fetcher talks to."""

    console: Calling
    tokens: Authorizing
    delivery: Delivery
    control: Watching
    pressure: Pressure
