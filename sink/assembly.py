"""Joining the chunks of a fetch, and finding what is incomplete. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.contracts import codec
from pipeline.contracts.identity import batch_id, page_of
from pipeline.contracts.messages import PageOutcome, Result, Rows, Unchanged
from pipeline.contracts.records import Record
from pipeline.errors import Invalid
from sink.rows import PageText, check

FetchKey = tuple[str, str]
"""(batch id, fetch id): chunks of two fetches never belong together."""
Texts = dict[FetchKey, PageText]
"""The text of fetches."""


def fetch_key(chunk: Rows) -> FetchKey:
    """Return the fetch that a chunk belongs to."""
    return chunk.batch.batch_id, chunk.fetch_id


@dataclass(frozen=True)
class ReceivedResult:
    """A decoded result, with its record."""

    record: Record
    message: Result


def read_result(record: Record) -> ReceivedResult:
    """Return the decoded result. Raises Invalid with the reason."""
    message = codec.decode_result(record.value)
    if message.batch.batch_id != batch_id(page_of(message.batch)):
        raise Invalid("is not the id of the page that the batch requests", field="batch.batch_id")
    if isinstance(message, Rows):
        check(message)
    if isinstance(message, Unchanged) and message.base_generation >= message.batch.generation:
        raise Invalid("is not older than the generation of the batch", field="base_generation")
    return ReceivedResult(record, message)


@dataclass(frozen=True)
class Assembly:
    """The work of one transaction."""

    fetches: list[list[ReceivedResult]]
    """Complete fetches, each with its chunks in order; one per page."""
    unchanged: list[ReceivedResult]
    """Pages without rows, since the table has them; one per page, and none that has a complete fetch."""
    outcomes: list[ReceivedResult]
    parked: list[ReceivedResult]
    """Chunks of incomplete fetches."""


def assemble(received: Sequence[ReceivedResult], parked: Mapping[FetchKey, list[ReceivedResult]]) -> Assembly:
    """Join new chunks with parked ones. A repeated chunk counts once.

    Raises Invalid when all chunks of a fetch together are not its page.
    """
    joined = _join_chunks(received, parked)
    complete: dict[str, list[ReceivedResult]] = {}
    for (page, _), chunks in joined.items():
        if _is_complete(chunks):
            # When a batch holds two complete fetches of a page, the first is applied, as in two batches.
            complete.setdefault(page, [chunks[number] for number in sorted(chunks)])
    unchanged: dict[str, ReceivedResult] = {}
    for item in received:
        if isinstance(item.message, Unchanged) and (page := item.message.batch.batch_id) not in complete:
            unchanged.setdefault(page, item)
    return Assembly(
        fetches=list(complete.values()),
        unchanged=list(unchanged.values()),
        outcomes=[item for item in received if isinstance(item.message, PageOutcome)],
        parked=[item for (page, _), chunks in joined.items() if page not in complete for item in chunks.values()],
    )


def _join_chunks(
    received: Iterable[ReceivedResult], parked: Mapping[FetchKey, list[ReceivedResult]]
) -> dict[FetchKey, dict[int, ReceivedResult]]:
    """Return the chunks of each fetch by their number."""
    joined: dict[FetchKey, dict[int, ReceivedResult]] = {}
    for item in received:
        if isinstance(item.message, Rows):
            key = fetch_key(item.message)
            chunks = joined.setdefault(key, {_chunk(old): old for old in parked.get(key, ())})
            chunks[item.message.chunk] = item
    return joined


def _chunk(item: ReceivedResult) -> int:
    return item.message.chunk if isinstance(item.message, Rows) else 0


def _is_complete(chunks: dict[int, ReceivedResult]) -> bool:
    messages = [item.message for item in chunks.values() if isinstance(item.message, Rows)]
    if len(messages) < max(message.chunks for message in messages):
        return False
    stated = {(message.chunks, message.page_rows, message.next_start_row) for message in messages}
    if stated != {(len(messages), sum(len(message.clicks) for message in messages), messages[0].next_start_row)}:
        raise Invalid(f"the chunks of fetch {messages[0].fetch_id!r} do not make up its page", field="page_rows")
    return True
