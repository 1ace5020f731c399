"""What the fetcher talks to, as protocols: tests put values in place of the API, the tokens and Kafka."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fetcher.backpressure import SinkBackpressure
from fetcher.capacity import PagePermit
from fetcher.outcome import Outcome
from fetcher.results import ResultPublisher
from pipeline.contracts.halts import Halts
from pipeline.contracts.messages import Batch
from pipeline.offsets import OffsetCommit


class PageApi(Protocol):
    """Search Console, by the plain transport or by HTTP batches."""

    async def query(self, batch: Batch, token: str, permit: PagePermit) -> Outcome:
        """Call the API for one page."""


class TokenSource(Protocol):
    """Access tokens of the credentials."""

    async def token(self, credential: str) -> str:
        """Return a valid token. Raises Retryable or Fatal."""

    def refused(self, credential: str, token: str) -> bool:
        """Record that the API refused a token; return whether it refuses the credential's new tokens, too."""

    def accepted(self, credential: str, token: str) -> None:
        """Record that the API accepted a token."""


class ControlState(Protocol):
    """The state of the control topic."""

    halts: Halts

    def readable(self, monotonic_now: float) -> bool:
        """Whether the halts are up to date."""


class Member(Protocol):
    """The fetcher's membership in its consumer group."""

    @property
    def lease_until(self) -> float:
        """The end of the lease, on the monotonic clock. No call may start later."""

    async def commit(self, commits: Sequence[OffsetCommit]) -> None:
        """Commit offsets; a success renews the lease. Raises Retryable."""


@dataclass(frozen=True)
class Ports:
    """Everything that the fetcher talks to."""

    api: PageApi
    tokens: TokenSource
    results: ResultPublisher
    control: ControlState
    backpressure: SinkBackpressure
    member: Member
