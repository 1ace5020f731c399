"""Which chunks make a whole fetch, and what is left to wait for. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.contracts import codec
from pipeline.contracts.identity import batch_id, page_of
from pipeline.contracts.messages import PageOutcome, Rows
from pipeline.contracts.records import Record
from pipeline.errors import Invalid
from sink.rows import check

FetchKey = tuple[str, str]
"""(batch id, fetch id): chunks of two fetches never belong together."""


@dataclass(frozen=True)
class ReceivedResult:
    """A result that could be read, and where it lay."""

    record: Record
    message: Rows | PageOutcome


def read_result(record: Record) -> ReceivedResult:
    """A result as it was read. Raises Invalid with the reason."""
    message = codec.decode_result(record.value)
    if message.batch.batch_id != batch_id(page_of(message.batch)):
        raise Invalid("not the id of what the batch asks for", field="batch.batch_id")
    if isinstance(message, Rows):
        check(message)
    return ReceivedResult(record, message)


@dataclass
class Assembly:
    """What one transaction does."""

    fetches: list[list[ReceivedResult]] = field(default_factory=list)
    """Whole fetches, each with its chunks in order; one for each page."""
    outcomes: list[ReceivedResult] = field(default_factory=list)
    parked: list[ReceivedResult] = field(default_factory=list)
    """Chunks whose fetch is not whole."""


def assemble(received: Iterable[ReceivedResult], parked: Mapping[FetchKey, list[ReceivedResult]]) -> Assembly:
    """Join new chunks with those that were parked. A chunk that came twice counts once.

    Raises Invalid when chunks that are all of a fetch do not make up its page.
    """
    work = Assembly()
    open_fetches: dict[FetchKey, dict[int, ReceivedResult]] = {}
    for item in received:
        message = item.message
        if isinstance(message, PageOutcome):
            work.outcomes.append(item)
            continue
        key = (message.batch.batch_id, message.fetch_id)
        chunks = open_fetches.setdefault(key, {_chunk(old): old for old in parked.get(key, ())})
        chunks[message.chunk] = item
    whole: dict[str, list[ReceivedResult]] = {}
    for (page, _), chunks in open_fetches.items():
        if _is_whole(chunks):
            # Two whole fetches of a page in one batch: the first is applied, as it would be one after the other.
            whole.setdefault(page, [chunks[number] for number in sorted(chunks)])
    work.fetches = list(whole.values())
    work.parked = [item for (page, _), chunks in open_fetches.items() if page not in whole for item in chunks.values()]
    return work


def _chunk(item: ReceivedResult) -> int:
    return item.message.chunk if isinstance(item.message, Rows) else 0


def _is_whole(chunks: dict[int, ReceivedResult]) -> bool:
    messages = [item.message for item in chunks.values() if isinstance(item.message, Rows)]
    if len(messages) < max(message.chunks for message in messages):
        return False
    told = {(message.chunks, message.page_rows, message.next_start_row) for message in messages}
    if told != {(len(messages), sum(len(message.clicks) for message in messages), messages[0].next_start_row)}:
        raise Invalid(f"the chunks of fetch {messages[0].fetch_id!r} do not make up its page", field="page_rows")
    return True
