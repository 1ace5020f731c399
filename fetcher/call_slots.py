"""The slots for calls in flight: so many for each credential. Pure.

A credential whose calls hang fills only its own slots. Among its properties, one whose calls hang leaves the others at
least half of them.
"""

from collections import Counter

from pipeline.contracts.messages import Batch


class CallSlots:
    """Calls in flight, by credential and property."""

    def __init__(self, per_credential: int) -> None:
        self._per_credential = per_credential
        self._share = max(1, per_credential // 2)
        """What one property may hold while others of its credential have work."""
        self._credentials: Counter[str] = Counter()
        self._properties: Counter[str] = Counter()

    def take(self, batch: Batch) -> None:
        """Count a call that starts."""
        self._credentials[batch.credential] += 1
        self._properties[batch.property] += 1

    def release(self, batch: Batch) -> None:
        """Count a call that has ended."""
        for counts, key in ((self._credentials, batch.credential), (self._properties, batch.property)):
            counts[key] -= 1
            if not counts[key]:
                del counts[key]

    def is_full(self, credential: str) -> bool:
        """Whether no more calls of a credential may start."""
        return self._credentials[credential] >= self._per_credential

    def is_share_used(self, batch: Batch, others_wait: bool) -> bool:
        """Whether a property must leave the free slots to others of its credential.

        `others_wait`: batches of other properties are queued. Calls in flight of others count as their work, too.
        """
        own = self._properties[batch.property]
        return own >= self._share and (others_wait or self._credentials[batch.credential] > own)
