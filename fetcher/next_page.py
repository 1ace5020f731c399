"""What follows from a page: whether its day has another one, and whether the day may still change. Pure.

Google's own sample loop goes on until a page is empty. A page that is not full is almost always the last one already;
to stop there saves one call for each day.
"""

from datetime import date, timedelta
from typing import Literal

import msgspec

from fetcher.chunks import FetchedPage, UnchangedPage
from pipeline.contracts.identity import batch_id, page_of
from pipeline.contracts.messages import Batch
from pipeline.contracts.reports import FINAL_AFTER_DAYS

PagingRule = Literal["full-page", "empty-page"]
"""`full-page`: another page follows a full page only. `empty-page`: another page follows every page with rows."""


def next_start_row(batch: Batch, rows: int, rule: PagingRule) -> int | None:
    """Return the start row of the page after `batch`, which has `rows` rows; None after the last page of the day.

    The start row advances by the row limit, never by the number of rows received. A report with a row limit of its own
    has one page of a day.
    """
    if batch.selection.row_limit is not None:
        return None
    more = rows >= batch.row_limit if rule == "full-page" else rows > 0
    return batch.start_row + batch.row_limit if more else None


def next_batch(batch: Batch, start_row: int) -> Batch:
    """Return the batch of another page of the same day and generation."""
    page = page_of(batch)._replace(start_row=start_row)
    return msgspec.structs.replace(batch, start_row=start_row, batch_id=batch_id(page))


def first_incomplete_date(batch: Batch, page: FetchedPage | UnchangedPage, today: date) -> date | None:
    """Return the first day that may change: Google's own, or the page's day, or None for a day that is final.

    Google names the day only in fresh data that is grouped by date or hour. An empty page of a recent day means that
    its data is not published yet. `today` is the Pacific date of the fetch.
    """
    if page.first_incomplete_date is not None:
        return page.first_incomplete_date
    is_recent = today - batch.date < timedelta(days=FINAL_AFTER_DAYS)
    is_unnamed = batch.data_state != "final" and not {"date", "hour"} & set(batch.dimensions)
    return batch.date if is_recent and (is_unnamed or batch.start_row + page.rows == 0) else None
