"""Dead letters tried again: pages are owed again, other messages go back to the topic that they were read from."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.contracts import codec
from pipeline.contracts.messages import Batch
from pipeline.dead_letters import DeadLetterPublisher, StoredDeadLetter
from pipeline.errors import Invalid
from pipeline.ledger import pages
from pipeline.postgres import Connection


@dataclass
class Redriven:
    """What became of the letters: owed again, forwarded, or skipped since their page is applied or on its way, or
    since what is left of them is only their beginning."""

    pending: int = 0
    forwarded: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class Letter:
    """A dead letter, and the batch that it is about, if that can be read.

    `is_batch`: the message is the batch itself, and not a result of one.
    """

    buried: StoredDeadLetter
    batch: Batch | None
    is_batch: bool


def opened(buried: StoredDeadLetter) -> Letter:
    """Read what is in a dead letter, as far as it can be read."""
    value = buried.record.value
    try:
        return Letter(buried, codec.decode(Batch, value), is_batch=True)
    except Invalid:
        pass
    try:
        return Letter(buried, codec.decode_result(value).batch, is_batch=False)
    except Invalid:
        return Letter(buried, None, is_batch=False)


async def redrive(letters: Iterable[Letter], conn: Connection, kafka: DeadLetterPublisher, rate: float) -> Redriven:
    """Try letters again, at most `rate` a second. Raises Retryable; what was done before stays done."""
    done = Redriven()
    for letter in letters:
        await _redrive(letter, conn, kafka, done)
        await asyncio.sleep(1 / rate)
    return done


async def _redrive(letter: Letter, conn: Connection, kafka: DeadLetterPublisher, done: Redriven) -> None:
    batch, buried = letter.batch, letter.buried
    states = await pages.states(conn, [batch.batch_id]) if batch else {}
    state = states.get(batch.batch_id) if batch else None
    if batch and letter.is_batch and state is not None:
        revived = await pages.redrive(conn, batch.batch_id)
        done.pending += revived
        done.skipped += not revived
    elif state in ("applied", "cancelled") or buried.source is None or buried.cut:
        done.skipped += 1
    else:
        await kafka.forward(buried.source[0], buried.record.key, buried.record.value, ())
        done.forwarded += 1
