"""Identifiers, derived from what they identify: the same request always has the same ids."""

from collections.abc import Iterable
from datetime import date
from hashlib import blake2b
from typing import NamedTuple

from pipeline.contracts.messages import Batch, SearchType


class Page(NamedTuple):
    """One page of Search Console's answer, in one generation."""

    property: str
    report: str
    search_type: SearchType
    date: date
    start_row: int
    generation: int


def page_of(batch: Batch) -> Page:
    """Return the page that a batch requests."""
    return Page(batch.property, batch.report, batch.search_type, batch.date, batch.start_row, batch.generation)


def page_number(batch: Batch) -> int:
    """Return which page of its day a batch requests: 0 for the first."""
    return batch.start_row // batch.row_limit


def base_digest(batch: Batch) -> str | None:
    """Return the digest that the page of a batch has in the batch's base, or None."""
    number = page_number(batch)
    return batch.base.digests[number] if batch.base and number < len(batch.base.digests) else None


def batch_id(page: Page) -> str:
    """Return 32 hex digits. Each part is hashed with its length, so that no two pages hash the same bytes."""
    digest = blake2b(digest_size=16)
    for part in page:
        text = str(part).encode()
        digest.update(len(text).to_bytes(4, "big") + text)
    return digest.hexdigest()


def run_id(request_id: str) -> str:
    """Return 32 hex digits. A request is planned as one run, even if it arrives several times."""
    return blake2b(request_id.encode(), digest_size=16, person=b"gsc-stream run").hexdigest()


def rolling_request_id(day: date, days: int, names: Iterable[str]) -> str:
    """Return the request id of a rolling window. The same window, requested again on the same day, has the same id."""
    digest = blake2b(digest_size=6)
    for name in sorted(names):
        digest.update(len(name).to_bytes(4, "big") + name.encode())
    return f"rolling-{day}-{days}-{digest.hexdigest()}"


DEDUPLICATION_S = 900.0
"""Seconds during which the owner of a partition drops a repeated batch id. The producer waits longer than this before
it publishes a batch again because its result is missing."""
