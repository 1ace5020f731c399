"""Moves pending pages to the credential that the catalog gives their property now."""

import asyncio
from collections.abc import Callable

from pipeline.catalog import Catalog
from pipeline.ledger import pages as ledger_pages
from pipeline.log import logger
from pipeline.postgres import Connection
from pipeline.process import event_or_timeout

CHECK_EVERY_S = 30.0

_log = logger(__name__)


class MovedPages:
    """Looks regularly, since a page of the former credential may become pending at any time, as by a halt."""

    def __init__(self, catalog: Callable[[], Catalog]) -> None:
        """`catalog`: returns the present version."""
        self._catalog = catalog

    async def run(self, stop: asyncio.Event, conn: Connection) -> None:
        """Move pages until `stop`. Raises Retryable and Fatal."""
        await self.move(conn)
        while not await event_or_timeout(stop, CHECK_EVERY_S):
            await self.move(conn)

    async def move(self, conn: Connection) -> None:
        """Move the pages that are pending under a former credential of their property."""
        credentials = {item.url: item.credential for item in self._catalog().properties}
        if count := await ledger_pages.move(conn, credentials):
            _log.info("pages_moved", pages=count)
