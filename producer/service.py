"""The planner: takes requests in, and publishes what they make owed."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

from pipeline.bounding import DeadLetterBound
from pipeline.catalog import Catalog
from pipeline.clock import now, pacific_date
from pipeline.contracts import codec
from pipeline.contracts.messages import SyncRequest
from pipeline.contracts.records import Record
from pipeline.dead_letters import DeadLetter, Forwarding, bury
from pipeline.errors import Invalid, Retryable
from pipeline.postgres import Connection
from pipeline.telemetry import logger
from producer.admission import problems_of
from producer.ledger import plan_run
from producer.publishing import Outbox

SERVICE: Final = "producer"
RETRY_S = 1.0

_log = logger(__name__)
Opening = Callable[[], AbstractAsyncContextManager[Connection]]


@dataclass(frozen=True)
class Ports:
    """What the intake talks to."""

    prefix: str
    publisher: Forwarding
    outbox: Outbox
    open_: Opening


class Intake:
    """Writes requests to the ledger. Nothing is skipped: while a server is away, the request waits."""

    def __init__(self, catalog: Catalog, ports: Ports, bound: DeadLetterBound) -> None:
        self._catalog = catalog
        self._ports = ports
        self._bound = bound
        self.failure: Exception | None = None
        """Why no more requests are taken in. The stream processor would swallow an exception."""

    async def take(self, record: Record) -> None:
        """Plan a request, or bury what cannot be planned. Returns when either is safe, and else never."""
        while True:
            try:
                return await self._take(record)
            except Retryable as error:
                _log.warning("intake_waits", error=str(error), retry_s=RETRY_S)
                await asyncio.sleep(RETRY_S)
            except Exception as error:  # whatever it is: the stream processor would go on and commit the request
                self.failure = error
                await asyncio.Event().wait()  # until the process ends; the request is taken again then

    async def _take(self, record: Record) -> None:
        try:
            request = codec.decode(SyncRequest, record.value)
            if problems := problems_of(request, self._catalog, pacific_date(now())):
                raise Invalid("; ".join(map(str, problems)))
            async with self._ports.open_() as conn:
                planned = await plan_run(conn, request, self._catalog, now())
        except Invalid as error:
            letter = DeadLetter(record, SERVICE, "invalid_request", str(error))
            await bury(self._ports.publisher, self._ports.prefix, letter)
            self._bound.dead(record.partition, str(error))
            return
        self._bound.done(record.partition)
        _log.info("planned", run_id=planned.run_id, request_id=request.request_id, pages=planned.pages)
        self._ports.outbox.planned()
