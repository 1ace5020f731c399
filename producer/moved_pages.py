"""Moves pending pages to the credential that the catalog gives their property now."""

import asyncio
from collections.abc import Callable

from pipeline.catalog import Catalog
from pipeline.clock import monotonic
from pipeline.ledger import pages as ledger_pages
from pipeline.log import logger
from pipeline.postgres import Connection
from pipeline.process import event_or_timeout

CHECK_EVERY_S = 5.0
LOOK_EVERY_S = 600.0
PAGES_AT_ONCE = 2000

_log = logger(__name__)


class MovedPages:
    """Looks after each change of the catalog, and now and then, since a page may become pending again later."""

    def __init__(self, catalog: Callable[[], Catalog]) -> None:
        """`catalog`: returns the present version."""
        self._catalog = catalog
        self._checked: Catalog | None = None
        self._checked_at = float("-inf")

    async def run(self, stop: asyncio.Event, conn: Connection) -> None:
        """Move pages until `stop`. Raises Retryable and Fatal."""
        while not stop.is_set():
            if self.is_due(monotonic()):
                await self.move(conn)
            await event_or_timeout(stop, CHECK_EVERY_S)

    def is_due(self, now: float) -> bool:
        """Return whether the catalog has changed since the last look, or that was long ago."""
        return self._catalog() is not self._checked or now - self._checked_at >= LOOK_EVERY_S

    async def move(self, conn: Connection) -> None:
        """Move the pages that are pending under a former credential of their property, some at a time.

        Each step is short, so that other statements of the connection wait for one step only.
        """
        catalog, total = self._catalog(), 0
        credentials = {item.url: item.credential for item in catalog.properties}
        while count := await ledger_pages.move(conn, credentials, PAGES_AT_ONCE):
            total += count
        self._checked, self._checked_at = catalog, monotonic()
        if total:
            _log.info("pages_moved", pages=total)
