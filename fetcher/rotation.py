"""Keys that take turns, such as the properties of a credential. Pure: time is an argument, on a monotonic clock.

A key that has to wait is out of the rotation until its time, and costs nothing meanwhile.
"""

from collections import OrderedDict
from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

LEAST_WAIT_S = 0.001
"""A wait that rounds to nothing would look at the same key again and again."""
_STALE_ENTRIES = 64


class Rotation(Generic[K]):
    """Keys in turn, and a heap of those that wait, by the time at which each joins the rotation again."""

    def __init__(self) -> None:
        self._ready: OrderedDict[K, None] = OrderedDict()
        self._until: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        """May hold entries of keys that were woken or removed: valid is the one that agrees with `_until`."""
        self._order = count()

    def __len__(self) -> int:
        return len(self._ready) + len(self._until)

    def wake(self, key: K) -> None:
        """Let a key take part at once, as the last one if it is new or has waited."""
        self._until.pop(key, None)
        self._ready.setdefault(key)

    def discard(self, key: K) -> None:
        """Remove a key."""
        self._until.pop(key, None)
        self._ready.pop(key, None)

    def first(self, now: float) -> K | None:
        """Return the key whose turn it is; None when every key waits."""
        while (entry := self._next_entry()) and entry[0] <= now:
            self.wake(entry[2])
        return next(iter(self._ready), None)

    def rotate(self, key: K) -> None:
        """Move a key to the end, since it has had its turn."""
        self._ready.move_to_end(key)

    def delay(self, key: K, now: float, wait_s: float) -> None:
        """Take a key out of the rotation for this long."""
        until = now + max(wait_s, LEAST_WAIT_S)
        self._ready.pop(key, None)
        self._until[key] = until
        heappush(self._heap, (until, next(self._order), key))
        if len(self._heap) > 2 * len(self._until) + _STALE_ENTRIES:
            self._heap = [(until, next(self._order), key) for key, until in self._until.items()]
            heapify(self._heap)

    def soonest(self, now: float) -> tuple[K | None, float]:
        """Return the key that may be the next one, and its wait in seconds, 0 for one in turn; (None, inf) if empty."""
        if self._ready:
            return next(iter(self._ready)), 0.0
        entry = self._next_entry()
        return (entry[2], max(0.0, entry[0] - now)) if entry else (None, float("inf"))

    def _next_entry(self) -> tuple[float, int, K] | None:
        while self._heap and self._until.get(self._heap[0][2]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0] if self._heap else None
