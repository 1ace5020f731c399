"""The paging rule: whether a day has another page, and its batch. Pure.

Google's own sample loop goes on until a page is empty. A page that is not full is almost always the last one already;
to stop there saves one call for each day.
"""

from typing import Literal

import msgspec

from pipeline.contracts.identity import batch_id, page_of
from pipeline.contracts.messages import Batch

PagingRule = Literal["full-page", "empty-page"]
"""`full-page`: another page follows a full page only. `empty-page`: another page follows every page with rows."""


def next_start_row(batch: Batch, rows: int, rule: PagingRule) -> int | None:
    """Return the start row of the page after `batch`, which has `rows` rows; None after the last page of the day.

    The start row advances by the row limit, never by the number of rows received.
    """
    more = rows >= batch.row_limit if rule == "full-page" else rows > 0
    return batch.start_row + batch.row_limit if more else None


def next_batch(batch: Batch, start_row: int) -> Batch:
    """Return the batch of another page of the same day and generation."""
    page = page_of(batch)._replace(start_row=start_row)
    return msgspec.structs.replace(batch, start_row=start_row, batch_id=batch_id(page))
