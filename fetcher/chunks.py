"""A page as messages, each small enough for a broker with default settings. Pure."""

from dataclasses import dataclass
from datetime import date, datetime

from pipeline.contracts import codec
from pipeline.contracts.messages import Batch, Rows
from pipeline.contracts.topics import MAX_MESSAGE_BYTES
from pipeline.errors import Invalid

LIMIT = MAX_MESSAGE_BYTES - 20_000  # the rest is for key, headers and the frame of the record
SAMPLE_ROWS = 250
ESTIMATE_MARGIN = 1.1
"""Some chunks are larger than the average, and a chunk above the limit costs encoding all of them again."""


@dataclass(frozen=True)
class FetchedPage:
    """The rows of a response by column; `keys` has one list for each dimension except `date`."""

    keys: tuple[list[str], ...]
    clicks: list[float]
    impressions: list[float]
    ctr: list[float]
    position: list[float | None] | None
    first_incomplete_date: date | None = None
    digest: str | None = None

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.clicks)


@dataclass(frozen=True)
class UnchangedPage:
    """A response with the rows that the page has in the base of its batch, which are not decoded."""

    rows: int
    digest: str
    first_incomplete_date: date | None = None


@dataclass(frozen=True)
class Fetch:
    """The fields that all chunks of one fetch share."""

    batch: Batch
    fetch_id: str
    fetched_at: datetime
    next_start_row: int | None


def chunks(fetch: Fetch, page: FetchedPage, limit: int = LIMIT) -> list[bytes]:
    """Return the page as encoded `Rows` messages of at most `limit` bytes. Raises Invalid when one row is larger."""
    most = max(1, page.rows)
    count = min(most, _estimated_count(fetch, page, limit))
    while True:
        encoded = [codec.encode(_rows(fetch, page, number, count)) for number in range(count)]
        if max(map(len, encoded)) <= limit:
            return encoded
        if count == most:
            raise Invalid(f"a row takes more than {limit} bytes", field="rows")
        count = min(most, count * 2)


def _estimated_count(fetch: Fetch, page: FetchedPage, limit: int) -> int:
    """Return a likely number of chunks, from the size of some rows: encoding is a large part of the fetcher's work."""
    step = page.rows // SAMPLE_ROWS
    if step < 2:
        return 1
    sample = codec.encode(_rows(fetch, page, 0, 1, slice(None, None, step)))
    return int(len(sample) * step * ESTIMATE_MARGIN) // limit + 1


def _rows(fetch: Fetch, page: FetchedPage, number: int, count: int, part: slice | None = None) -> Rows:
    """Return chunk `number` of `count`, or a part of the page."""
    part = part or slice(page.rows * number // count, page.rows * (number + 1) // count)
    return Rows(
        batch=fetch.batch,
        fetch_id=fetch.fetch_id,
        fetched_at=fetch.fetched_at,
        chunk=number,
        chunks=count,
        page_rows=page.rows,
        next_start_row=fetch.next_start_row,
        keys=tuple(column[part] for column in page.keys),
        clicks=page.clicks[part],
        impressions=page.impressions[part],
        ctr=page.ctr[part],
        position=None if page.position is None else page.position[part],
        first_incomplete_date=page.first_incomplete_date,
        digest=page.digest,
    )
