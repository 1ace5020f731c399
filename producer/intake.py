"""The handler of sync requests: each becomes a run in the ledger, which is planned later, or a dead letter."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pipeline.catalog import Catalog
from pipeline.clock import now
from pipeline.contracts import codec
from pipeline.contracts.identity import run_id
from pipeline.contracts.messages import SyncRequest
from pipeline.contracts.records import Record
from pipeline.dead_letter_limit import DeadLetterLimit
from pipeline.dead_letters import DeadLetter, DeadLetterPublisher, publish_dead_letter
from pipeline.errors import Invalid, Retryable
from pipeline.ledger import runs
from pipeline.log import logger
from pipeline.pacific import pacific_date
from pipeline.postgres import Connect, Connection
from producer.planner import properties_of
from producer.sync_request import id_conflict, validate

SERVICE: Final = "producer"
RETRY_S = 1.0

_log = logger(__name__)


@dataclass(frozen=True)
class Ports:
    """What the intake talks to. `prefix` is that of the topics."""

    prefix: str
    publisher: DeadLetterPublisher
    connect: Connect


class Intake:
    """Accepts requests, each in a moment, whatever it asks for.

    No request is skipped: while a server is away, the request waits.
    """

    def __init__(self, catalog: Catalog, ports: Ports, limit: DeadLetterLimit) -> None:
        self._catalog = catalog
        self._ports = ports
        self._limit = limit
        self.failure: Exception | None = None
        """Why no more requests are processed. Faust would swallow an exception."""

    def replace_catalog(self, catalog: Catalog) -> None:
        """Check requests against another catalog from the next one on."""
        self._catalog = catalog

    async def process(self, record: Record) -> None:
        """Accept a request, or dead-letter it. Returns when either is stored, otherwise never."""
        while True:
            try:
                return await self._process(record)
            except Retryable as error:
                _log.warning("intake_waits", error=str(error), retry_s=RETRY_S)
                await asyncio.sleep(RETRY_S)
            except Exception as error:  # any error: Faust would continue and commit the request
                self.failure = error
                await asyncio.Event().wait()  # until the process ends; the next one reads the request again

    async def _process(self, record: Record) -> None:
        try:
            request = codec.decode(SyncRequest, record.value)
        except Invalid as error:
            await self._dead_letter(record, error)
            # Whoever sends requests that cannot be decoded, something is wrong with all of them.
            self._limit.record_dead(record.partition, str(error))
            return
        self._limit.record_done(record.partition)
        try:
            new = await self._accept(request)
        except Invalid as error:  # a mistake of one tenant, which must not stop the requests of others
            await self._dead_letter(record, error)
            return
        _log.info("request_accepted", run_id=run_id(request.request_id), request_id=request.request_id, new=new)

    async def _accept(self, request: SyncRequest) -> bool:
        if problems := validate(request, self._catalog, pacific_date(now())):
            raise Invalid("; ".join(map(str, problems)))
        async with self._ports.connect() as conn:
            return await accept(conn, request, self._catalog, now())

    async def _dead_letter(self, record: Record, error: Invalid) -> None:
        dead_letter = DeadLetter(record, SERVICE, "invalid_request", str(error))
        await publish_dead_letter(self._ports.publisher, self._ports.prefix, dead_letter)


async def accept(conn: Connection, request: SyncRequest, catalog: Catalog, now: datetime) -> bool:
    """Store the run of a request, to be planned. Returns False for a request that was accepted before.

    Raises Invalid when another request used the request id, Retryable when PostgreSQL cannot be reached.
    """
    credentials = {item.credential for item in properties_of(request, catalog)}
    if await runs.create_run(conn, request, credentials, now):
        return True
    stored = await runs.stored_run(conn, run_id(request.request_id))
    if stored is None:
        raise Retryable("a run was accepted in the same millisecond, with the same generation")
    if conflict := id_conflict(stored.request, request):
        raise Invalid(conflict, field="request_id")
    return False
