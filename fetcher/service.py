"""The fetcher: the handler of the partitions of `gsc.batches` in its consumer group.

It queues the batches that it receives. One loop starts their calls (`call_loop`), another commits what is done, with
the status of each partition (`commit_loop`).
"""

import asyncio
from collections.abc import Sequence

from fetcher.assignment import Partitions
from fetcher.call_loop import CallLoop
from fetcher.commit_loop import CommitLoop
from fetcher.dead_letter_limits import DeadLetterLimits
from fetcher.outcome import Dead
from fetcher.page_call import PageCalls
from fetcher.ports import Ports
from fetcher.rate_limiter import RateLimiter
from fetcher.schedule import Job
from fetcher.settings import Capacity
from fetcher.unknown_batches import KEEP_UNKNOWN_S, UnknownBatches
from pipeline.catalog import Catalog
from pipeline.clock import monotonic, now
from pipeline.contracts import codec
from pipeline.contracts.messages import Batch
from pipeline.contracts.partition_status import PartitionStatus
from pipeline.contracts.records import Record
from pipeline.errors import Invalid
from pipeline.log import batch_fields, logger
from pipeline.metrics import gauge
from pipeline.offsets import AssignedPartition
from pipeline.process import event_or_timeout

QUEUE_FULL = 12_000
"""Batches. Large enough that behind a long backfill of one property the daily batch of another is still read, and
started first."""
QUEUE_LOW = 8_000
UNKNOWN_EVERY_S = 1.0

_log = logger(__name__)


class Fetcher:
    """Holds partitions, and fetches the pages of their batches."""

    def __init__(
        self, catalog: Catalog, capacity: Capacity, limiter: RateLimiter, ports: Ports, dead_letters: DeadLetterLimits
    ) -> None:
        self._catalog = catalog
        self._drain_s = capacity.drain_s
        self._member = ports.member
        self._dead_letters = dead_letters
        self._partitions = Partitions(limiter)
        self._calls = PageCalls(ports, self._partitions, capacity)
        batch_ended = asyncio.Event()
        self.call_loop = CallLoop(ports, self._partitions, self._calls, dead_letters, batch_ended, self._credential_of)
        self.commit_loop = CommitLoop(ports, self._partitions, self.call_loop, batch_ended, capacity.drain_s)
        self._queue_is_full = False
        self._unknown = UnknownBatches()

    async def run(self, stop: asyncio.Event) -> None:
        """Start calls and commit until `stop`; calls in flight are drained when the partitions are revoked."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.call_loop.run(stop))
            group.create_task(self.commit_loop.run(stop))
            group.create_task(self._watch_unknown(stop))

    def halts_changed(self) -> None:
        """Cancel the calls of scopes that are halted now; the call loop defers their batches."""
        self._calls.cancel_halted()
        self.call_loop.halts_changed()

    # Called by the member of the consumer group (pipeline.consumer_group.PartitionHandler)

    async def assigned(self, partitions: Sequence[AssignedPartition]) -> None:
        """Hold partitions from now on, with empty token buckets and without the batches that are done."""
        self._partitions.assign(partitions, monotonic())

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Start no more calls, wait for those in flight for a bounded time, commit, and release the partitions."""
        self._partitions.stop(partitions, monotonic())
        await self.call_loop.drain(partitions, self._drain_s)
        status = PartitionStatus("STOPPED", now(), "its owner has released it")
        commits = self._partitions.assignment.commits(dict.fromkeys(partitions, status))
        self._release(partitions)
        await self._member.commit(commits)

    def lost(self, partitions: Sequence[int]) -> None:
        """Stop without a commit, since another member may own the partitions already."""
        self._partitions.stop(partitions, monotonic())
        self._release(partitions)
        self._calls.cancel_partitions(partitions)

    def _release(self, partitions: Sequence[int]) -> None:
        self._partitions.release(partitions)
        self._calls.outages.released(partitions)
        self._unknown.drop(partitions)
        for partition in partitions:
            self._dead_letters.of_partitions.reset(partition)

    async def receive(self, records: Sequence[Record]) -> None:
        """Queue the batches that are not done already."""
        for record in records:
            if self._partitions.assignment.start(record):
                self._accept(record)
        self.call_loop.wake()

    def wants_more(self) -> bool:
        """Whether to read more: until the queue is full, and again when it is low."""
        self._queue_is_full = len(self._partitions.schedule) >= (QUEUE_LOW if self._queue_is_full else QUEUE_FULL)
        return not self._queue_is_full

    def _accept(self, record: Record) -> None:
        """Queue the batch of a record; a repeated one is done, an undecodable one is dead-lettered."""
        try:
            batch = codec.decode(Batch, record.value)
        except Invalid as error:
            self.call_loop.reject_record(record, str(error))
            return
        job = Job(batch, record.partition, record.offset)
        if self._is_known(job):
            self._queue(job)
        elif self._unknown.add(job, monotonic()):
            _log.warning("unknown_property", keep_s=KEEP_UNKNOWN_S, **batch_fields(batch))

    def _is_known(self, job: Job) -> bool:
        return self._credential_of(job.batch.property) == job.batch.credential

    def _credential_of(self, url: str) -> str | None:
        configured = self._catalog.property_by_url.get(url)
        return configured.credential if configured else None

    def _queue(self, job: Job) -> None:
        if not self._partitions.schedule.add(job, monotonic()):
            self._partitions.assignment.mark_done(job)

    def replace_catalog(self, catalog: Catalog) -> None:
        """Use another catalog from now on, and queue the batches that waited for it."""
        self._catalog = catalog
        for job in self._unknown.take_known(self._is_known):
            self._queue(job)
        self.call_loop.wake()

    def reject_unknown(self, now: float) -> None:
        """End the wait of batches for a new catalog: dead-letter them, or defer them to another credential."""
        for job in self._unknown.take_expired(now):
            if credential := self._credential_of(job.batch.property):
                self.call_loop.move(job, credential)
            else:
                detail = f"the catalog has no property {job.batch.property}"
                self.call_loop.reject(job, Dead("unknown_property", detail, counts=False))
        gauge("gsc_unknown_batches").set(len(self._unknown))

    async def _watch_unknown(self, stop: asyncio.Event) -> None:
        while not await event_or_timeout(stop, UNKNOWN_EVERY_S):
            self.reject_unknown(monotonic())
