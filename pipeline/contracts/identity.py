"""Ids derived from what they identify: the same request always gets the same ids."""

from collections.abc import Iterable
from datetime import date
from hashlib import blake2b
from typing import NamedTuple

from pipeline.contracts.messages import Batch, SearchType


class Page(NamedTuple):
    """What a batch id identifies."""

    property: str
    report: str
    search_type: SearchType
    date: date
    start_row: int
    generation: int


def page_of(batch: Batch) -> Page:
    """Return the page that a batch requests."""
    return Page(batch.property, batch.report, batch.search_type, batch.date, batch.start_row, batch.generation)


def batch_id(page: Page) -> str:
    """Return 32 hex digits. Each part is prefixed by its length, so two pages never hash the same text."""
    digest = blake2b(digest_size=16)
    for part in page:
        text = str(part).encode()
        digest.update(len(text).to_bytes(4, "big") + text)
    return digest.hexdigest()


def run_id(request_id: str) -> str:
    """Return 32 hex digits. A request is planned as one run, however often it arrives."""
    return blake2b(request_id.encode(), digest_size=16, person=b"gsc-stream run").hexdigest()


def rolling_request_id(day: date, days: int, names: Iterable[str]) -> str:
    """Return the id of a rolling request, so that requesting the same window twice on a day changes nothing."""
    digest = blake2b(digest_size=6)
    for name in sorted(names):
        digest.update(len(name).to_bytes(4, "big") + name.encode())
    return f"rolling-{day}-{days}-{digest.hexdigest()}"


DEDUPLICATION_S = 900.0
"""Seconds for which the owner of a partition drops repeated batch ids. A batch whose result is missing is published
again later than that."""
