"""The numbers of dead letters that halt a property or a credential, or end the fetcher. Pure."""

from fetcher.outcome import HaltOrder, ScopeKind
from pipeline.contracts.messages import Batch
from pipeline.dead_letter_limit import DeadLetterLimit
from pipeline.errors import Fatal

PROPERTIES_OF_A_LIMIT = 10
"""How many properties with too many dead letters are too many for their credential."""


class DeadLetterLimits:
    """Dead letters of a property or a credential, which halt it, and undecodable messages of a partition.

    Only the latter end the process, since they belong to nobody. The limit of a property is so much lower that only
    several properties reach the limit of their credential.
    """

    def __init__(self, limit: int, ratio: float) -> None:
        of_a_property = min(limit, max(2, limit // PROPERTIES_OF_A_LIMIT))
        self.of_properties = DeadLetterLimit(of_a_property, ratio, "property", "resume it")
        self.of_credentials = DeadLetterLimit(limit, ratio, "credential", "resume it")
        self.of_partitions = DeadLetterLimit(limit, ratio)

    def record_done(self, batch: Batch) -> None:
        """Count a page that was fetched."""
        self.of_properties.record_done(batch.property)
        self.of_credentials.record_done(batch.credential)

    def record_dead(self, batch: Batch, reason: str) -> HaltOrder | None:
        """Count a page that is dead; return the order to halt its property or credential when a limit is reached."""
        limits = self.of_properties, self.of_credentials
        kinds: tuple[tuple[ScopeKind, str], ...] = ("property", batch.property), ("credential", batch.credential)
        for limit, (kind, name) in zip(limits, kinds, strict=True):
            try:
                limit.record_dead(name, reason)
            except Fatal as error:
                limit.reset(name)
                return HaltOrder(kind, "dead_letters", str(error))
        return None
