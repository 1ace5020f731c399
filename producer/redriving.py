"""Dead letters tried again: pages are owed again, other messages go back to the topic that they were read from."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.contracts import codec
from pipeline.contracts.messages import Batch
from pipeline.dead_letters import Buried, Forwarding
from pipeline.errors import Invalid
from pipeline.postgres import Connection
from producer import ledger


@dataclass
class Redriven:
    """What became of the letters: owed again, forwarded, or skipped since their page is applied or on its way."""

    owed: int = 0
    forwarded: int = 0
    skipped: int = 0


def batch_of(letter: Buried) -> tuple[Batch | None, bool]:
    """The batch that the letter is about, if it can be read; and whether the message is the batch itself."""
    value = letter.record.value
    try:
        return codec.decode(Batch, value), True
    except Invalid:
        pass
    try:
        return codec.decode_result(value).batch, False
    except Invalid:
        return None, False


async def redrive(letters: Iterable[Buried], conn: Connection, kafka: Forwarding, rate: float) -> Redriven:
    """Try letters again, at most `rate` a second. Raises Retryable; what was done before stays done."""
    done = Redriven()
    for letter in letters:
        await _redrive(letter, conn, kafka, done)
        await asyncio.sleep(1 / rate)
    return done


async def _redrive(letter: Buried, conn: Connection, kafka: Forwarding, done: Redriven) -> None:
    batch, is_batch = batch_of(letter)
    states = await ledger.page_states(conn, [batch.batch_id]) if batch else {}
    state = states.get(batch.batch_id) if batch else None
    if batch and is_batch and state is not None:
        revived = await ledger.revive(conn, batch.batch_id)
        done.owed += revived
        done.skipped += not revived
    elif state in ("applied", "cancelled") or letter.source is None:
        done.skipped += 1
    else:
        await kafka.forward(letter.source[0], letter.record.key, letter.record.value, ())
        done.forwarded += 1
