"""How many messages of a partition may die before somebody has to look. Pure."""

from collections import defaultdict, deque

from pipeline.errors import Fatal


class DeadLetterLimit:
    """Stops a service that buries more than it works on, as after a bad deployment: of the last `limit / ratio`
    messages of a partition fewer than `limit` may be dead. One poisonous message never stops anything."""

    def __init__(self, limit: int, ratio: float) -> None:
        self._limit = limit
        self._window = round(limit / ratio)
        self._ends: defaultdict[int, deque[bool]] = defaultdict(lambda: deque(maxlen=self._window))

    def done(self, partition: int) -> None:
        """A message was worked on."""
        self._ends[partition].append(False)

    def dead(self, partition: int, reason: str) -> None:
        """A message was buried; raises Fatal when that was one too many."""
        ends = self._ends[partition]
        ends.append(True)
        if (count := sum(ends)) >= self._limit:
            raise Fatal(
                f"{count} of the last {len(ends)} messages of partition {partition} are dead letters, the last one:"
                f" {reason}; look at them, then start again (GSC_DEAD_LETTER_LIMIT, GSC_DEAD_LETTER_RATIO)"
            )

    def forget(self, partition: int) -> None:
        """The partition is another's."""
        self._ends.pop(partition, None)
