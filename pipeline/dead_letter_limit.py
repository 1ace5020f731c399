"""The number of dead letters that stops a service. Pure."""

from collections import defaultdict, deque

from pipeline.errors import Fatal


class DeadLetterLimit:
    """Stops a service that dead-letters too much of what it reads, as after a bad deployment.

    Fewer than `limit` of the last `limit / ratio` messages of a partition may be dead-lettered. A single message that
    cannot be processed never reaches the limit.
    """

    def __init__(self, limit: int, ratio: float) -> None:
        self._limit = limit
        self._window = round(limit / ratio)
        self._dead: defaultdict[int, deque[bool]] = defaultdict(lambda: deque(maxlen=self._window))

    def record_done(self, partition: int) -> None:
        """Count a message that was processed."""
        self._dead[partition].append(False)

    def record_dead(self, partition: int, reason: str) -> None:
        """Count a message that was dead-lettered. Raises Fatal when the limit is reached."""
        outcomes = self._dead[partition]
        outcomes.append(True)
        if (count := sum(outcomes)) >= self._limit:
            raise Fatal(
                f"{count} of the last {len(outcomes)} messages of partition {partition} are dead letters, the last one:"
                f" {reason}; see `gsc-stream dead-letters`, remove the cause, then start the service again"
                " (GSC_DEAD_LETTER_LIMIT and GSC_DEAD_LETTER_RATIO set the limit)"
            )

    def reset(self, partition: int) -> None:
        """Drop the counts of a partition that was revoked."""
        self._dead.pop(partition, None)
