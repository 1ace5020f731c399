"""Notifications of changed pages, from a trigger on `gsc.pages`: one for each transaction, whoever runs it.

They only save time. A notification is lost while the listener's connection is, so every listener polls, too.
"""

import asyncio
from collections.abc import Callable

from pipeline.errors import Retryable
from pipeline.log import logger
from pipeline.postgres import Connect, Connection, database_errors
from pipeline.process import event_or_timeout

CHECK_EVERY_S = 1.0
"""How often a follower looks whether it must stop, and whether its server still answers."""
RETRY_S = 1.0

_log = logger(__name__)


async def listen(conn: Connection) -> None:
    """Make PostgreSQL send notifications to a connection. Raises Retryable."""
    async with database_errors():
        await conn.execute("listen gsc_pages")


async def wait_for_change(conn: Connection, seconds: float) -> bool:
    """Wait for the next notification, at most for a time; return whether there was one. Raises Retryable.

    A notification since the last wait counts. Nothing else can use the connection meanwhile.
    """
    async with database_errors():
        return bool([notify async for notify in conn.notifies(timeout=seconds, stop_after=1)])


async def follow_changes(stop: asyncio.Event, connect: Connect, on_change: Callable[[], None]) -> None:
    """Call `on_change` after each transaction that changes pages, until `stop`. Reconnects. Raises Fatal."""
    while not stop.is_set():
        try:
            async with connect() as conn:
                await listen(conn)
                on_change()  # there may have been changes before
                while not stop.is_set():
                    if await wait_for_change(conn, CHECK_EVERY_S):
                        on_change()
                    else:
                        await listen(conn)  # changes nothing, but needs an answer
        except Retryable as error:
            _log.warning("changes_not_followed", error=str(error), retry_s=RETRY_S)
            await event_or_timeout(stop, RETRY_S)
