"""A page as messages, each small enough for a default broker. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

from pipeline.contracts import codec
from pipeline.contracts.messages import Batch, Rows
from pipeline.contracts.topics import MAX_MESSAGE_BYTES
from pipeline.errors import Invalid

LIMIT = MAX_MESSAGE_BYTES - 20_000  # key, headers and the record's own frame


@dataclass(frozen=True)
class FetchedPage:
    """The rows of an answer by column; `keys` one list for each dimension but `date`."""

    keys: tuple[list[str], ...]
    clicks: list[float]
    impressions: list[float]
    ctr: list[float]
    position: list[float | None] | None
    first_incomplete_date: date | None = None

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.clicks)


@dataclass(frozen=True)
class Fetch:
    """What all chunks of one fetch have in common."""

    batch: Batch
    fetch_id: str
    fetched_at: datetime
    next_start_row: int | None


def chunks(fetch: Fetch, page: FetchedPage, limit: int = LIMIT) -> list[bytes]:
    """Encoded `Rows` messages, none larger than `limit`. Raises Invalid when a single row is."""
    whole = codec.encode(_rows(fetch, page, 0, page.rows, (0, 1)))
    if len(whole) <= limit:
        return [whole]
    count = len(whole) // limit + 1
    while count <= page.rows:
        encoded = list(_encoded(fetch, page, count))
        if max(map(len, encoded)) <= limit:
            return encoded
        count = min(page.rows, count * 2) if count < page.rows else page.rows + 1
    raise Invalid(f"a row takes more than {limit} bytes", field="rows")


def _encoded(fetch: Fetch, page: FetchedPage, count: int) -> Iterator[bytes]:
    for number in range(count):
        start, end = page.rows * number // count, page.rows * (number + 1) // count
        yield codec.encode(_rows(fetch, page, start, end, (number, count)))


def _rows(fetch: Fetch, page: FetchedPage, start: int, end: int, place: tuple[int, int]) -> Rows:
    return Rows(
        batch=fetch.batch,
        fetch_id=fetch.fetch_id,
        fetched_at=fetch.fetched_at,
        chunk=place[0],
        chunks=place[1],
        page_rows=page.rows,
        next_start_row=fetch.next_start_row,
        keys=tuple(column[start:end] for column in page.keys),
        clicks=page.clicks[start:end],
        impressions=page.impressions[start:end],
        ctr=page.ctr[start:end],
        position=None if page.position is None else page.position[start:end],
        first_incomplete_date=page.first_incomplete_date,
    )
