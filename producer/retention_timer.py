"""The daily retention, in the leader: deletes what is older than its report keeps, and superseded ledger pages."""

import asyncio
import dataclasses
from collections.abc import Callable
from datetime import datetime

from croniter import croniter

from pipeline.catalog import Catalog
from pipeline.clock import now
from pipeline.errors import Retryable
from pipeline.log import logger
from pipeline.pacific import PACIFIC, pacific_date
from pipeline.postgres import Connect, Connection
from pipeline.process import event_or_timeout
from pipeline.retention import delete_old, delete_superseded
from pipeline.retry import with_retries

ATTEMPTS = 600
"""About ten hours, one attempt a minute."""

_log = logger(__name__)


class RetentionTimer:
    """Deletes at the times of a cron line, in Pacific time, while this process leads."""

    def __init__(self, cron: str, connect: Connect, catalog: Callable[[], Catalog], superseded_days: int) -> None:
        self._cron = cron
        self._connect = connect
        self._catalog = catalog
        self._superseded_days = superseded_days

    async def run(self, stop: asyncio.Event, _: Connection) -> None:
        """Delete regularly until `stop`. A time at which no process leads is left out. Raises Fatal."""
        while not await event_or_timeout(stop, seconds_until(self._cron, now())):
            try:
                await with_retries(self._delete, attempts=ATTEMPTS)
            except Retryable as error:
                _log.warning("retention_failed", error=str(error))

    async def _delete(self) -> None:
        async with self._connect() as conn:
            deleted = await delete_old(conn, self._catalog(), pacific_date(now()))
            superseded = await delete_superseded(conn, self._superseded_days)
        _log.info("retention_ended", **dataclasses.asdict(dataclasses.replace(deleted, superseded=superseded)))


def seconds_until(cron: str, moment: datetime) -> float:
    """Return the seconds until the next time of a cron line in Pacific time. Pure."""
    following: datetime = croniter(cron, moment.astimezone(PACIFIC)).get_next(datetime)
    return (following - moment).total_seconds()
