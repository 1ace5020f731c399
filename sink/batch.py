"""A batch of results, decoded and formatted before its transaction begins. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pipeline.contracts.messages import Rows
from pipeline.contracts.records import Record
from pipeline.errors import Invalid
from sink.assembly import FetchKey, ReceivedResult, Texts, fetch_key, read_result

Format = Callable[[Sequence[ReceivedResult]], Texts]
Decoded = ReceivedResult | Invalid
"""A result, or why it cannot be decoded."""


@dataclass(frozen=True)
class PreparedBatch:
    """Records with what was decoded, and the text of the pages that are complete in the batch."""

    records: Sequence[Record]
    decoded: Sequence[Decoded]
    texts: Texts

    def only(self, records: Iterable[Record]) -> "PreparedBatch":
        """Return the batch with only those of its records that are among these."""
        kept = set(map(id, records))
        pairs = [pair for pair in zip(self.records, self.decoded, strict=True) if id(pair[0]) in kept]
        return PreparedBatch([record for record, _ in pairs], [item for _, item in pairs], self.texts)


NOTHING = PreparedBatch((), (), {})


def prepare(records: Sequence[Record], format_pages: Format, *, hold: bool) -> PreparedBatch:
    """Return the batch of these records, with `hold` without the chunks at the end whose page is not complete.

    This takes long, so it runs in a thread.
    """
    decoded = [_decode(record) for record in records]
    if hold:
        decoded = decoded[: whole_pages(decoded)]
    return PreparedBatch(
        records[: len(decoded)],
        decoded,
        format_pages([item for item in decoded if isinstance(item, ReceivedResult)]),
    )


def _decode(record: Record) -> Decoded:
    try:
        return read_result(record)
    except Invalid as error:
        return error


def whole_pages(decoded: Sequence[Decoded]) -> int:
    """Return how many results remain without the chunks at the end whose page is not complete."""
    chunks = Counter(map(_fetch, decoded))
    count = len(decoded)
    while count and chunks[_fetch(decoded[count - 1])] < _chunks(decoded[count - 1]):
        count -= 1
    return count


def _fetch(item: Decoded) -> FetchKey | None:
    message = item.message if isinstance(item, ReceivedResult) else None
    return fetch_key(message) if isinstance(message, Rows) else None


def _chunks(item: Decoded) -> int:
    message = item.message if isinstance(item, ReceivedResult) else None
    return message.chunks if isinstance(message, Rows) else 0
