"""Whether a day has another page. Pure.

Google's own loop goes on until a page comes back empty; nearly always a page that is not full is the last one already.
"""

from typing import Literal

import msgspec

from pipeline.contracts.identity import batch_id, page_of
from pipeline.contracts.messages import Batch

PagingRule = Literal["full-page", "empty-page"]


def next_start_row(batch: Batch, rows: int, rule: PagingRule) -> int | None:
    """Where the next page begins, or None after the last. It advances by the limit, never by the rows received."""
    more = rows >= batch.row_limit if rule == "full-page" else rows > 0
    return batch.start_row + batch.row_limit if more else None


def next_batch(batch: Batch, start_row: int) -> Batch:
    """The batch of another page of the same day and generation."""
    page = page_of(batch)._replace(start_row=start_row)
    return msgspec.structs.replace(batch, start_row=start_row, batch_id=batch_id(page))
