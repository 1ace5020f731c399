"""What requests over HTTP and the daily timer lead to: a message on Kafka, or a look into the ledger."""

from dataclasses import dataclass

from pipeline.catalog import Catalog
from pipeline.clock import now, pacific_date
from pipeline.contracts import codec
from pipeline.contracts.halts import Halts
from pipeline.contracts.identity import run_id
from pipeline.contracts.messages import Control, SyncRequest
from pipeline.contracts.topics import SYNC_REQUESTS
from pipeline.control import publish_control
from pipeline.ledger import runs
from pipeline.publisher import Publisher
from pipeline.retention import delete_old
from producer.lag_exporter import Opening
from producer.sync_request import build_request


@dataclass(frozen=True)
class Asking:
    """The doors of the planner."""

    prefix: str
    publisher: Publisher
    open_: Opening
    halts: Halts

    async def accept(self, request: SyncRequest) -> None:
        """Take a request in: it is planned when its message is read. Raises Retryable."""
        topic = SYNC_REQUESTS.full_name(self.prefix)
        await self.publisher.publish(topic, request.request_id, codec.encode(request))

    async def asked_before(self, request_id: str) -> SyncRequest | None:
        """The request that was planned under an id. Raises Retryable."""
        async with self.open_() as conn:
            return await runs.request_of(conn, run_id(request_id))

    async def progress(self, run: str) -> dict[str, object] | None:
        """How far a run is. Raises Retryable."""
        async with self.open_() as conn:
            return await runs.progress(conn, run)

    async def announce(self, control: Control) -> None:
        """Halt a scope, or let it run. Raises Retryable."""
        await publish_control(self.publisher, self.prefix, control)

    async def daily(self, catalog: Catalog, days: int) -> None:
        """Ask for the last days, and delete what reports no longer keep. Raises Retryable.

        Who asks twice on a day changes nothing, so every replica may.
        """
        moment = now()
        fields = {"all": True, "days": days}
        await self.accept(build_request(fields, now=moment, today=pacific_date(moment), requested_by="timer"))
        async with self.open_() as conn:
            await delete_old(conn, catalog, pacific_date(moment))
