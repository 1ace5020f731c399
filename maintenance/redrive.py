"""Redrive: dead pages become pending again, other dead letters are published to their topic again."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

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


Action = Literal["pending", "forward", "skip"]


def action_of(dead_letter: DecodedDeadLetter, state: pages.State | None) -> Action:
    """Return what a redrive does with a dead letter. Pure. `state` is that of its page, None when there is none."""
    if dead_letter.batch and dead_letter.is_batch and state is not None:
        return "pending" if state == "dead" else "skip"
    if state in ("applied", "cancelled") or dead_letter.stored.source is None or dead_letter.stored.cut:
        return "skip"
    return "forward"


def count_actions(
    dead_letters: Iterable[DecodedDeadLetter], states: Mapping[str, pages.State], halts: Halts
) -> RedriveCounts:
    """Return what a redrive would do. Pure."""
    counts, current = RedriveCounts(), dict(states)
    for dead_letter in dead_letters:
        page = dead_letter.batch.batch_id if dead_letter.batch else ""
        action = action_of(dead_letter, current.get(page))
        if action == "pending":
            current[page] = "pending"
        _count(counts, action, dead_letter, halts)
    return counts


async def redrive(
    dead_letters: Iterable[DecodedDeadLetter], conn: Connection, kafka: DeadLetterPublisher, halts: Halts, rate: float
) -> RedriveCounts:
    """Redrive dead letters, at most `rate` a second. Raises Retryable; what was done before stays done.

    `halts` are only read, to count the pages that stay pending.
    """
    counts = RedriveCounts()
    for dead_letter in dead_letters:
        _count(counts, await _redrive(dead_letter, conn, kafka), dead_letter, halts)
        await asyncio.sleep(1 / rate)
    return counts


async def _redrive(dead_letter: DecodedDeadLetter, conn: Connection, kafka: DeadLetterPublisher) -> Action:
    """Redrive one dead letter; return what was done."""
    batch, stored = dead_letter.batch, dead_letter.stored
    states = await pages.states(conn, [batch.batch_id]) if batch else {}
    action = action_of(dead_letter, states.get(batch.batch_id) if batch else None)
    if action == "pending" and batch:
        return "pending" if await pages.redrive(conn, batch.batch_id) else "skip"
    if action == "forward" and stored.source:
        await kafka.forward(stored.source[0], stored.record.key, stored.record.value, ())
    return action


def _count(counts: RedriveCounts, action: Action, dead_letter: DecodedDeadLetter, halts: Halts) -> None:
    counts.pending += action == "pending"
    counts.forwarded += action == "forward"
    counts.skipped += action == "skip"
    if action == "pending" and dead_letter.batch and halts.blocking(scopes_of(dead_letter.batch), now()):
        counts.halted += 1
