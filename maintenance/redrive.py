"""Redrive: dead pages become pending again, other dead letters are published to their topic again."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.clock import now
from pipeline.contracts import codec
from pipeline.contracts.halts import Halts, scopes_of
from pipeline.contracts.messages import Batch
from pipeline.dead_letters import DeadLetterPublisher, StoredDeadLetter
from pipeline.errors import Invalid
from pipeline.ledger import pages
from pipeline.postgres import Connection


@dataclass
class RedriveCounts:
    """Numbers of dead letters, by what was done with them."""

    pending: int = 0
    """Batches whose page is pending again."""
    halted: int = 0
    """Those of them that wait for the end of a halt."""
    forwarded: int = 0
    """Messages published to the topic that they were read from."""
    skipped: int = 0
    """Dead letters whose page is not dead any more, whose source is not known, or whose value was truncated."""


@dataclass(frozen=True)
class DecodedDeadLetter:
    """A dead letter with the batch that it is about, if that can be decoded.

    `is_batch` is whether the message is the batch itself, not a result of it.
    """

    stored: StoredDeadLetter
    batch: Batch | None
    is_batch: bool


def decode_dead_letter(stored: StoredDeadLetter) -> DecodedDeadLetter:
    """Return a dead letter with its batch, as far as it can be decoded."""
    value = stored.record.value
    try:
        return DecodedDeadLetter(stored, codec.decode(Batch, value), is_batch=True)
    except Invalid:
        pass
    try:
        return DecodedDeadLetter(stored, codec.decode_result(value).batch, is_batch=False)
    except Invalid:
        return DecodedDeadLetter(stored, None, is_batch=False)


async def redrive(
    dead_letters: Iterable[DecodedDeadLetter], conn: Connection, kafka: DeadLetterPublisher, halts: Halts, rate: float
) -> RedriveCounts:
    """Redrive dead letters, at most `rate` a second. Raises Retryable; what was done before stays done.

    `halts` are only read, to count the pages that stay pending.
    """
    counts = RedriveCounts()
    for dead_letter in dead_letters:
        pending = await _redrive(dead_letter, conn, kafka, counts)
        if pending and halts.blocking(scopes_of(pending), now()):
            counts.halted += 1
        await asyncio.sleep(1 / rate)
    return counts


async def _redrive(
    dead_letter: DecodedDeadLetter, conn: Connection, kafka: DeadLetterPublisher, counts: RedriveCounts
) -> Batch | None:
    """Redrive one dead letter. Return its batch if the page is pending again, else None."""
    batch, stored = dead_letter.batch, dead_letter.stored
    states = await pages.states(conn, [batch.batch_id]) if batch else {}
    state = states.get(batch.batch_id) if batch else None
    if batch and dead_letter.is_batch and state is not None:
        pending = await pages.redrive(conn, batch.batch_id)
        counts.pending += pending
        counts.skipped += not pending
        return batch if pending else None
    if state in ("applied", "cancelled") or stored.source is None or stored.cut:
        counts.skipped += 1
    else:
        await kafka.forward(stored.source[0], stored.record.key, stored.record.value, ())
        counts.forwarded += 1
    return None
