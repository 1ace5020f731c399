"""Which chunks make a whole fetch, and what is left to wait for. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.contracts import codec
from pipeline.contracts.messages import Outcome, Rows
from pipeline.contracts.records import Record
from sink.rows import check

FetchKey = tuple[str, str]
"""(batch id, fetch id): chunks of two fetches never belong together."""


@dataclass(frozen=True)
class Received:
    """A result that could be read, and where it lay."""

    record: Record
    message: Rows | Outcome


def read_result(record: Record) -> Received:
    """A result as it was read. Raises Invalid with the reason."""
    message = codec.decode_result(record.value)
    if isinstance(message, Rows):
        check(message)
    return Received(record, message)


@dataclass
class Work:
    """What one transaction does."""

    fetches: list[list[Received]] = field(default_factory=list)
    """Whole fetches, each with its chunks in order; one for each page."""
    outcomes: list[Received] = field(default_factory=list)
    parked: list[Received] = field(default_factory=list)
    """Chunks whose fetch is not whole."""


def assemble(received: Iterable[Received], parked: Mapping[FetchKey, list[Received]]) -> Work:
    """Join new chunks with those that were parked. A chunk that came twice counts once."""
    work = Work()
    open_fetches: dict[FetchKey, dict[int, Received]] = {}
    for item in received:
        message = item.message
        if isinstance(message, Outcome):
            work.outcomes.append(item)
            continue
        key = (message.batch.batch_id, message.fetch_id)
        chunks = open_fetches.setdefault(key, {_chunk(old): old for old in parked.get(key, ())})
        chunks[message.chunk] = item
    whole: dict[str, list[Received]] = {}
    for (batch_id, _), chunks in open_fetches.items():
        if _is_whole(chunks):
            # Two whole fetches of a page in one batch: the first is applied, as it would be one after the other.
            whole.setdefault(batch_id, [chunks[number] for number in sorted(chunks)])
    work.fetches = list(whole.values())
    work.parked = [
        item for (batch_id, _), chunks in open_fetches.items() if batch_id not in whole for item in chunks.values()
    ]
    return work


def _chunk(item: Received) -> int:
    return item.message.chunk if isinstance(item.message, Rows) else 0


def _is_whole(chunks: dict[int, Received]) -> bool:
    first = next(iter(chunks.values())).message
    return isinstance(first, Rows) and len(chunks) == first.chunks
