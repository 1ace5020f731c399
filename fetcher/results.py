"""What the fetcher publishes: the rows of a page and the next page's batch, outcomes, dead letters, and controls."""

import asyncio
import uuid
from dataclasses import replace
from typing import Final, Literal, Protocol

import msgspec

from fetcher.chunks import Fetch, FetchedPage, UnchangedPage, chunks
from fetcher.next_page import PagingRule, first_incomplete_date, next_batch, next_start_row
from fetcher.schedule import Job
from pipeline.clock import now
from pipeline.contracts import codec
from pipeline.contracts.messages import Batch, Control, PageOutcome, Unchanged
from pipeline.contracts.records import Position, Record
from pipeline.contracts.topics import BATCHES, RESULTS
from pipeline.dead_letters import DeadLetter, DeadLetterPublisher, publish_dead_letter
from pipeline.metrics import counter
from pipeline.pacific import pacific_date
from pipeline.publisher import KeyedPublisher, publish_control

SERVICE: Final = "fetcher"


class MessagePublisher(DeadLetterPublisher, KeyedPublisher, Protocol):
    """A publisher of Kafka messages. Each method returns once the broker has acknowledged; raises Retryable."""

    async def publish_all(self, topic: str, messages: list[tuple[str, bytes]]) -> list[Position]:
        """Publish messages, given as (key, value), in order."""


class ResultPublisher:
    """Publishes how a batch ended, on `gsc.results`. Every method raises Retryable while Kafka is unreachable."""

    def __init__(self, publisher: MessagePublisher, prefix: str, rule: PagingRule) -> None:
        self._publisher = publisher
        self._prefix = prefix
        self._rule = rule
        self._batches = BATCHES.full_name(prefix)
        self._results = RESULTS.full_name(prefix)

    async def page(self, job: Job, page: FetchedPage | UnchangedPage) -> None:
        """Publish the rows, or that they are unchanged, and, once that is acknowledged, the next page's batch.

        Raises Invalid when a single row is larger than a message.
        """
        batch = job.batch
        following = next_start_row(batch, page.rows, self._rule)
        fetch = Fetch(msgspec.structs.replace(batch, base=None), uuid.uuid4().hex, now(), following)
        incomplete = first_incomplete_date(batch, page, pacific_date(fetch.fetched_at))
        page = replace(page, first_incomplete_date=incomplete)
        if isinstance(page, UnchangedPage):
            encoded = [codec.encode(_unchanged(batch, fetch, page))]
        else:
            encoded = await asyncio.to_thread(chunks, fetch, page)
        await self._publisher.publish_all(self._results, [(batch.property, value) for value in encoded])
        if following is not None:
            value = codec.encode(next_batch(batch, following))
            await self._publisher.publish(self._batches, batch.credential, value)
        counter("gsc_pages_total").labels("unchanged" if isinstance(page, UnchangedPage) else "done").inc()

    async def deferred(self, job: Job, reason: str, detail: str) -> None:
        """Publish that the page is pending again, since a scope of it is halted."""
        await self._outcome(job, "deferred", reason, detail)

    async def dead(self, job: Job, reason: str, detail: str) -> None:
        """Dead-letter the batch, and publish that its page is dead."""
        record = Record(
            topic=self._batches,
            partition=job.partition,
            offset=job.offset,
            key=job.batch.credential.encode(),
            value=codec.encode(job.batch),
            timestamp_ms=round(now().timestamp() * 1000),
        )
        dead_letter = DeadLetter(record, SERVICE, reason, detail, job.attempts, job.batch)
        await publish_dead_letter(self._publisher, self._prefix, dead_letter)
        await self._outcome(job, "dead", reason, detail)

    async def _outcome(self, job: Job, state: Literal["dead", "deferred"], reason: str, detail: str) -> None:
        outcome = PageOutcome(
            batch=job.batch, state=state, reason=reason, detail=detail, at=now(), attempts=job.attempts
        )
        await self._publisher.publish(self._results, job.batch.property, codec.encode(outcome))
        counter("gsc_pages_total").labels(state).inc()

    async def dead_record(self, record: Record, reason: str, error: str) -> None:
        """Dead-letter a message that cannot be decoded."""
        await publish_dead_letter(self._publisher, self._prefix, DeadLetter(record, SERVICE, reason, error))

    async def control(self, control: Control) -> None:
        """Publish a halt, or its end, for every process."""
        await publish_control(self._publisher, self._prefix, control)


def _unchanged(batch: Batch, fetch: Fetch, page: UnchangedPage) -> Unchanged:
    if batch.base is None:
        raise ValueError("a page without a base cannot be unchanged")
    return Unchanged(
        batch=fetch.batch,
        fetch_id=fetch.fetch_id,
        fetched_at=fetch.fetched_at,
        base_generation=batch.base.generation,
        digest=page.digest,
        page_rows=page.rows,
        next_start_row=fetch.next_start_row,
        first_incomplete_date=page.first_incomplete_date,
    )
