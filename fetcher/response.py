"""The body of an answer into columns. Pure, and the hottest code of the fetcher: it runs in a worker thread."""

import json
import zlib
from datetime import date

import msgspec

from fetcher.chunks import FetchedPage
from pipeline.contracts.messages import Batch
from pipeline.contracts.reports import TYPES_WITHOUT_POSITION
from pipeline.contracts.text import storable
from pipeline.errors import Invalid, Retryable

_GZIP = 16 + zlib.MAX_WBITS
_NUL = b"\\u0000"


class _Row(msgspec.Struct, gc=False):
    clicks: float
    impressions: float
    ctr: float
    keys: list[str] = []
    position: float | None = None


class _Metadata(msgspec.Struct):
    first_incomplete_date: date | None = None
    first_incomplete_date_camel: date | None = msgspec.field(default=None, name="firstIncompleteDate")

    @property
    def first_incomplete(self) -> date | None:
        return self.first_incomplete_date or self.first_incomplete_date_camel


class _Answer(msgspec.Struct):
    rows: list[_Row] = []
    metadata: _Metadata | None = None


class _Site(msgspec.Struct):
    site_url: str = msgspec.field(name="siteUrl")


class _Sites(msgspec.Struct):
    entries: list[_Site] = msgspec.field(default_factory=list, name="siteEntry")


_decoder = msgspec.json.Decoder(_Answer)


def unzipped(body: bytes) -> bytes:
    """Gunzip a whole body. Raises Retryable when it is cut off."""
    inflater = zlib.decompressobj(_GZIP)
    try:
        data = inflater.decompress(body) + inflater.flush()
    except zlib.error as error:
        raise Retryable(f"the body is not gzip: {error}") from error
    if not inflater.eof:
        raise Retryable("the gzipped body is cut off")
    return data


def page_of(batch: Batch, data: bytes) -> FetchedPage:
    """The page in a JSON body. Raises Retryable (undecodable: cut off on its way) or Invalid (not what was asked)."""
    answer, needs_escapes = _decoded(data)
    rows = answer.rows
    columns = _columns(batch, rows, needs_escapes or _NUL in data)
    return FetchedPage(
        keys=columns,
        clicks=[row.clicks for row in rows],
        impressions=[row.impressions for row in rows],
        ctr=[row.ctr for row in rows],
        position=None if batch.search_type in TYPES_WITHOUT_POSITION else [row.position for row in rows],
        first_incomplete_date=answer.metadata.first_incomplete if answer.metadata else None,
    )


def totals_of(data: bytes) -> dict[date, tuple[float, float]]:
    """(clicks, impressions) by date, of an answer whose only dimension is the date. Raises Retryable."""
    answer, _ = _decoded(data)
    try:
        return {date.fromisoformat(row.keys[0]): (row.clicks, row.impressions) for row in answer.rows}
    except (IndexError, ValueError) as error:
        raise Retryable(f"the answer has rows without a date: {error}") from error


def sites_of(data: bytes) -> list[str]:
    """Urls of an answer that lists properties. Raises Invalid."""
    try:
        return [entry.site_url for entry in msgspec.json.decode(data, type=_Sites).entries]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"the answer is no list of properties: {error}") from error


def _decoded(data: bytes) -> tuple[_Answer, bool]:
    """The answer, and whether its text may hold what cannot be stored."""
    try:
        return _decoder.decode(data), False
    except msgspec.ValidationError as error:
        raise Retryable(f"the answer has another shape: {error}") from error
    except msgspec.DecodeError as error:
        # A lone surrogate is legal in JSON text and refused by msgspec; the standard library takes it.
        try:
            return msgspec.convert(json.loads(data), _Answer), True
        except (ValueError, msgspec.ValidationError):
            raise Retryable(f"the answer is not JSON: {error}") from error


def _columns(batch: Batch, rows: list[_Row], needs_escapes: bool) -> tuple[list[str], ...]:
    if not rows:
        return tuple([] for name in batch.dimensions if name != "date")
    count = len(batch.dimensions)
    if any(len(row.keys) != count for row in rows):
        raise Invalid(f"rows do not have {count} keys", field="keys")
    columns = dict(zip(batch.dimensions, map(list, zip(*(row.keys for row in rows), strict=True)), strict=True))
    days = columns.pop("date", None)
    if days and set(days) != {batch.date.isoformat()}:
        raise Invalid(f"rows of other days than {batch.date}: {sorted(set(days))[:3]}", field="keys.date")
    if needs_escapes:
        return tuple([storable(text) for text in column] for column in columns.values())
    return tuple(columns.values())
