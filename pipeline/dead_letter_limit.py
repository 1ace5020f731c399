"""The number of dead letters that stops a service, or the calls of a property or a credential. Pure."""

from collections import defaultdict, deque
from collections.abc import Hashable

from pipeline.errors import Fatal


class DeadLetterLimit:
    """Finds out when too much of what is read is dead-lettered, as after a bad deployment.

    Fewer than `limit` of the last `limit / ratio` messages of a partition, or of another `unit`, may be dead-lettered.
    A single message that cannot be processed never reaches the limit. `remedy` says how to go on.
    """

    def __init__(
        self, limit: int, ratio: float, unit: str = "partition", remedy: str = "start the service again"
    ) -> None:
        self._limit = limit
        self._window = round(limit / ratio)
        self._unit = unit
        self._remedy = remedy
        self._dead: defaultdict[Hashable, deque[bool]] = defaultdict(lambda: deque(maxlen=self._window))

    def record_done(self, key: Hashable) -> None:
        """Count a message that was processed; without a dead letter there is nothing to count."""
        if key in self._dead:
            self._dead[key].append(False)

    def record_dead(self, key: Hashable, reason: str) -> None:
        """Count a message that was dead-lettered. Raises Fatal when the limit is reached."""
        outcomes = self._dead[key]
        outcomes.append(True)
        if (count := sum(outcomes)) >= self._limit:
            raise Fatal(
                f"{count} of the last {len(outcomes)} messages of {self._unit} {key} are dead letters, the last one:"
                f" {reason}; see `gsc-stream dead-letters`, remove the cause, then {self._remedy}"
                " (GSC_DEAD_LETTER_LIMIT and GSC_DEAD_LETTER_RATIO set the limit)"
            )

    def reset(self, key: Hashable) -> None:
        """Drop the counts of a partition that was revoked, or of a property or credential that was halted."""
        self._dead.pop(key, None)
