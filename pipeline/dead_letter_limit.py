"""How many messages of a partition may be dead-lettered before the service stops. Pure."""

from collections import defaultdict, deque

from pipeline.errors import Fatal


class DeadLetterLimit:
    """Stops a service that dead-letters most of what it reads, as after a bad deployment.

    Of the last `limit / ratio` messages of a partition, fewer than `limit` may be dead letters. A few poisonous
    messages never stop a service.
    """

    def __init__(self, limit: int, ratio: float) -> None:
        self._limit = limit
        self._window = round(limit / ratio)
        self._results: defaultdict[int, deque[bool]] = defaultdict(lambda: deque(maxlen=self._window))

    def done(self, partition: int) -> None:
        """Record a message that was processed."""
        self._results[partition].append(False)

    def dead(self, partition: int, reason: str) -> None:
        """Record a message that was dead-lettered. Raises Fatal when the limit is reached."""
        results = self._results[partition]
        results.append(True)
        if (count := sum(results)) >= self._limit:
            raise Fatal(
                f"{count} of the last {len(results)} messages of partition {partition} are dead letters, the last one:"
                f" {reason}; fix the cause, then start again (GSC_DEAD_LETTER_LIMIT, GSC_DEAD_LETTER_RATIO)"
            )

    def forget(self, partition: int) -> None:
        """Forget a partition that has another owner now."""
        self._results.pop(partition, None)
