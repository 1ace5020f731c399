"""The commits that a group member sends to Kafka, and the lease on its partitions that their answers renew.

The broker answers the requests of a connection in their order, and a request to join a group only when every member has
joined. A commit that is sent meanwhile therefore waits, and is refused with the generation in which it was sent.
"""

import asyncio
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.aio import AIOConsumer

from pipeline.clock import monotonic
from pipeline.errors import Retryable
from pipeline.metrics import counter
from pipeline.pending_commits import PendingCommits, first_error

COMMIT_S = 10.0
RETRY_S = 0.1
_REBALANCING = frozenset(
    {KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS, KafkaError.STALE_MEMBER_EPOCH}
)
"""The group has a new generation or is about to have one. While the member has not given its partitions back, no other
member can own them, so that the same commit is right in the new generation, too."""


class CommitRequests:
    """Sends commits. A successful one proves membership at the time it was sent, and so renews the lease."""

    def __init__(self, session_timeout_s: float) -> None:
        self._session_timeout_s = session_timeout_s
        self._pending = PendingCommits()
        self._lease_until = 0.0

    @property
    def lease_until(self) -> float:
        """The end of the lease, on the monotonic clock: one session timeout after the last proof of membership."""
        return self._lease_until

    def renew_lease(self, proven: float) -> None:
        """Extend the lease: the broker has confirmed the membership at this time or later."""
        self._lease_until = max(self._lease_until, proven + self._session_timeout_s)

    def end_lease(self) -> None:
        """End the lease: other members may own the partitions."""
        self._lease_until = 0.0

    async def send(self, consumer: AIOConsumer, offsets: list[TopicPartition]) -> asyncio.Future[float]:
        """Send a commit; returns a future of its answer, which a poll brings."""
        answer = self._pending.add(offsets, monotonic())
        try:
            await consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            self.settle(error.args[0], offsets)
        return answer

    async def send_and_wait(self, consumer: AIOConsumer, offsets: list[TopicPartition]) -> None:
        """Commit when no poll serves the answer: in a rebalance callback, and at the end. Raises Retryable.

        A commit that a rebalance refuses is sent again, with the generation that librdkafka knows by then.
        """
        until = monotonic() + COMMIT_S
        while (error := await self._attempt(consumer, offsets)) is not None:
            if error.code() not in _REBALANCING or monotonic() >= until:
                raise Retryable(f"Kafka: commit: {error.str()}")
            await asyncio.sleep(RETRY_S)

    async def _attempt(self, consumer: AIOConsumer, offsets: list[TopicPartition]) -> KafkaError | None:
        sent = monotonic()
        try:
            error = first_error(await consumer.commit(offsets=offsets, asynchronous=False))
        except KafkaException as failure:
            error = failure.args[0]
        self._count(error, sent)
        return error

    def settle(self, error: KafkaError | None, offsets: Sequence[TopicPartition]) -> None:
        """Record the answer to a commit."""
        error = error or first_error(offsets)
        self._count(error, self._pending.settle(offsets, error.str() if error else None))

    def fail_all(self, reason: str) -> None:
        """Fail every commit that has no answer yet."""
        self._pending.fail_all(reason)

    def _count(self, error: KafkaError | None, sent: float | None) -> None:
        """Count a commit, and renew the lease if it succeeded; `sent` is None for one of an earlier membership."""
        counter("gsc_commits_total").labels("failed" if error else "ok").inc()
        if not error and sent is not None:
            self.renew_lease(sent)


async def answered(commit: asyncio.Future[float]) -> None:
    """Wait for the answer to a commit. Raises Retryable for a refusal, and when none has come in time.

    Polls go on meanwhile. librdkafka would wait for minutes for a broker that is silent.
    """
    try:
        async with asyncio.timeout(COMMIT_S):
            await commit
    except TimeoutError as error:
        raise Retryable(f"Kafka: commit: no answer within {COMMIT_S:g} s") from error
