"""Commits of offsets that were sent to Kafka and not acknowledged yet."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable

from confluent_kafka import KafkaError, TopicPartition

from pipeline.errors import Retryable

_Key = frozenset[tuple[int, int]]


class PendingCommits:
    """Matches acknowledgements with commits by their offsets.

    An acknowledgement counts for the oldest of several commits of the same offsets, so a commit is never believed to be
    newer than it is: the lease on the partitions depends on when it was sent.
    """

    def __init__(self) -> None:
        self._pending: defaultdict[_Key, deque[tuple[float, asyncio.Future[float]]]] = defaultdict(deque)

    def add(self, offsets: Iterable[TopicPartition], sent: float) -> asyncio.Future[float]:
        """Return a future of `sent`, the time at which the commit is sent; it raises Retryable for a failed one."""
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._pending[_key(offsets)].append((sent, future))
        return future

    def settle(self, offsets: Iterable[TopicPartition], error: str | None) -> float | None:
        """Record the answer to a commit of these offsets; return when it was sent, None for one that is not pending."""
        key = _key(offsets)
        if not (commits := self._pending.get(key)):
            return None
        sent, future = commits.popleft()
        if not commits:
            del self._pending[key]
        _resolve(future, sent, error)
        return sent

    def fail_all(self, error: str) -> None:
        """Fail every commit that is pending."""
        for commits in self._pending.values():
            for sent, future in commits:
                _resolve(future, sent, error)
        self._pending.clear()


def first_error(offsets: Iterable[TopicPartition]) -> KafkaError | None:
    """Return the first error of a commit's offsets, or None."""
    return next((item.error for item in offsets if item.error is not None), None)


def _key(offsets: Iterable[TopicPartition]) -> _Key:
    return frozenset((item.partition, item.offset) for item in offsets)


def _resolve(future: asyncio.Future[float], sent: float, error: str | None) -> None:
    if future.done():  # whoever waited has given up
        return
    if error is None:
        future.set_result(sent)
    else:
        future.set_exception(Retryable(f"Kafka: commit: {error}"))
