"""What becomes of a batch, told to Kafka: rows and the next page, a dead letter, or "set aside"."""

import asyncio
import uuid
from typing import Final, Protocol

from fetcher.chunks import Fetch, FetchedPage, chunks
from fetcher.next_page import PagingRule, next_batch, next_start_row
from fetcher.schedule import Job
from pipeline.clock import now
from pipeline.contracts import codec
from pipeline.contracts.messages import Control, PageOutcome
from pipeline.contracts.records import Position, Record
from pipeline.contracts.topics import BATCHES, CONTROL, RESULTS
from pipeline.dead_letters import DeadLetter, publish_dead_letter
from pipeline.kafka import Headers
from pipeline.metrics import counter

SERVICE: Final = "fetcher"


class Publishing(Protocol):
    """Writing to Kafka; returns once acknowledged."""

    async def publish(self, topic: str, key: str, value: bytes | None, headers: Headers = ()) -> Position:
        """Write one message."""

    async def publish_all(self, topic: str, messages: list[tuple[str, bytes]]) -> list[Position]:
        """Write messages in order."""

    async def forward(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> Position:
        """Write a message as it was read."""


class ResultPublisher:
    """Every batch ends here, in a message on `gsc.results`."""

    def __init__(self, publisher: Publishing, prefix: str, rule: PagingRule) -> None:
        self._publisher = publisher
        self._prefix = prefix
        self._rule = rule
        self._batches = BATCHES.full_name(prefix)
        self._results = RESULTS.full_name(prefix)

    async def rows(self, job: Job, page: FetchedPage) -> None:
        """Publish the rows and, once they are safe, the next page's batch. Raises Invalid for a row beyond all size."""
        batch = job.batch
        following = next_start_row(batch, page.rows, self._rule)
        fetch = Fetch(batch, uuid.uuid4().hex, now(), following)
        encoded = await asyncio.to_thread(chunks, fetch, page)
        await self._publisher.publish_all(self._results, [(batch.property, value) for value in encoded])
        if following is not None:
            value = codec.encode(next_batch(batch, following))
            await self._publisher.publish(self._batches, batch.credential, value)
        counter("gsc_pages_total").labels("rows").inc()

    async def dead(self, job: Job, reason: str, detail: str) -> None:
        """Put the batch into the dead letters, and tell the ledger."""
        record = Record(
            topic=self._batches,
            partition=job.partition,
            offset=job.offset,
            key=job.batch.credential.encode(),
            value=codec.encode(job.batch),
            timestamp_ms=round(now().timestamp() * 1000),
        )
        letter = DeadLetter(record, SERVICE, reason, detail, job.attempts, job.batch)
        await publish_dead_letter(self._publisher, self._prefix, letter)
        await self._outcome(job, "dead", reason, detail)

    async def defer(self, job: Job, reason: str, detail: str) -> None:
        """Tell the ledger that the batch is owed again: its scope is halted."""
        await self._outcome(job, "deferred", reason, detail)

    async def _outcome(self, job: Job, state: str, reason: str, detail: str) -> None:
        outcome = PageOutcome(
            batch=job.batch,
            state="dead" if state == "dead" else "deferred",
            reason=reason,
            detail=detail,
            at=now(),
            attempts=job.attempts,
        )
        await self._publisher.publish(self._results, job.batch.property, codec.encode(outcome))
        counter("gsc_pages_total").labels(state).inc()

    async def poison(self, record: Record, reason: str, error: str) -> None:
        """Put a message that cannot be read into the dead letters."""
        await publish_dead_letter(self._publisher, self._prefix, DeadLetter(record, SERVICE, reason, error))

    async def control(self, control: Control) -> None:
        """Write a halt, or its end, for everybody."""
        await self._publisher.publish(CONTROL.full_name(self._prefix), control.scope, codec.encode(control))
