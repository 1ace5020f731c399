"""Where the outbox begins to look for pages while properties are halted, so that no pass scans their pages again."""

from collections.abc import Iterable, Mapping

from pipeline.contracts.records import PendingGroup
from pipeline.ledger import pages as ledger_pages
from pipeline.postgres import Connection

REFRESH_S = 30.0
"""A page that becomes pending again below the floor of its group is seen after this time."""


class PendingFloors:
    """The lowest round of each group that has a page outside halted properties.

    It is read again when other properties are halted, and every REFRESH_S. In between, rounds only grow, except those
    of pages that become pending again.
    """

    def __init__(self) -> None:
        self._properties: frozenset[str] = frozenset()
        self._known: Mapping[PendingGroup, int | None] = {}
        self._read_at = float("-inf")

    async def read(
        self, conn: Connection, groups: Iterable[PendingGroup], halted: frozenset[str], now: float
    ) -> dict[PendingGroup, int]:
        """Return the floor of each group; without those that have no page outside `halted` properties."""
        listed = list(groups)
        if halted and (halted != self._properties or now - self._read_at >= REFRESH_S):
            found = await ledger_pages.first_rounds(conn, listed, halted)
            self._known = {group: found.get(group) for group in listed}
            self._read_at = now
        self._properties = halted
        floors = {group: self._known.get(group, 0) if halted else 0 for group in listed}
        return {group: floor for group, floor in floors.items() if floor is not None}
