"""The body of a response, decoded into columns. Pure.

A page has up to 25,000 rows, so the fetcher spends most of its CPU time here, in a worker thread.
"""

import json
import zlib
from datetime import date, datetime

import msgspec

from fetcher.chunks import FetchedPage
from pipeline.contracts.messages import Batch
from pipeline.contracts.reports import TYPES_WITHOUT_POSITION
from pipeline.contracts.text import storable
from pipeline.errors import Invalid, Retryable

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for a body that is not JSON, is not UTF-8, or is nested too deeply."""
_GZIP = 16 + zlib.MAX_WBITS
MAX_COMPRESSION = 1032
"""Deflate makes nothing smaller than by this factor."""
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
    first_incomplete_hour: datetime | None = None
    first_incomplete_hour_camel: datetime | None = msgspec.field(default=None, name="firstIncompleteHour")

    @property
    def first_incomplete(self) -> date | None:
        """The first day that may change. Hourly data has the first hour instead, in Pacific time."""
        hour = self.first_incomplete_hour or self.first_incomplete_hour_camel
        return self.first_incomplete_date or self.first_incomplete_date_camel or (hour.date() if hour else None)


class _Response(msgspec.Struct):
    rows: list[_Row] = []
    metadata: _Metadata | None = None


class _Site(msgspec.Struct):
    site_url: str = msgspec.field(name="siteUrl")


class _Sites(msgspec.Struct):
    entries: list[_Site] = msgspec.field(default_factory=list, name="siteEntry")


_decoder = msgspec.json.Decoder(_Response)


def decoded_size(body: bytes) -> int:
    """Return the size of a gzipped body after decompression, by its last four bytes: see RFC 1952."""
    return min(int.from_bytes(body[-4:], "little"), MAX_COMPRESSION * len(body))


def gunzip(body: bytes) -> bytes:
    """Return the decompressed body. Raises Retryable when it is not gzip, or truncated."""
    inflater = zlib.decompressobj(_GZIP)
    try:
        data = inflater.decompress(body) + inflater.flush()
    except zlib.error as error:
        raise Retryable(f"the response body is not gzip: {error}") from error
    if not inflater.eof:
        raise Retryable("the gzipped response body is truncated")
    return data


def decode_page(batch: Batch, data: bytes) -> FetchedPage:
    """Return the page in a JSON body.

    Raises Retryable when the body does not decode, as a truncated one, and Invalid when its rows do not belong to the
    batch.
    """
    response, may_be_unstorable = _decode(data)
    rows = response.rows
    return FetchedPage(
        keys=_key_columns(batch, rows, may_be_unstorable or _NUL in data),
        clicks=[row.clicks for row in rows],
        impressions=[row.impressions for row in rows],
        ctr=[row.ctr for row in rows],
        position=None if batch.search_type in TYPES_WITHOUT_POSITION else [row.position for row in rows],
        first_incomplete_date=response.metadata.first_incomplete if response.metadata else None,
    )


def decode_totals(data: bytes) -> dict[date, tuple[float, float]]:
    """Return (clicks, impressions) by date, from rows whose only dimension is the date. Raises Retryable."""
    response, _ = _decode(data)
    try:
        return {date.fromisoformat(row.keys[0]): (row.clicks, row.impressions) for row in response.rows}
    except (IndexError, ValueError) as error:
        raise Retryable(f"the response has rows without a date: {error}") from error


def decode_sites(data: bytes) -> list[str]:
    """Return the URLs of a list of properties. Raises Invalid."""
    try:
        return [entry.site_url for entry in msgspec.json.decode(data, type=_Sites).entries]
    except UNDECODABLE as error:
        raise Invalid(f"the response is not a list of properties: {error}") from error


def _decode(data: bytes) -> tuple[_Response, bool]:
    """Return the response, and whether its texts may contain characters that PostgreSQL cannot store."""
    try:
        return _decoder.decode(data), False
    except msgspec.ValidationError as error:
        raise Retryable(f"the response has an unexpected shape: {error}") from error
    except UNDECODABLE as error:
        # A lone surrogate is legal in JSON text. msgspec refuses it, the standard library does not.
        try:
            return msgspec.convert(json.loads(data), _Response), True
        except (ValueError, RecursionError):
            raise Retryable(f"the response is not JSON: {error}") from error


def _key_columns(batch: Batch, rows: list[_Row], may_be_unstorable: bool) -> tuple[list[str], ...]:
    """Return one list for each dimension except `date`. Raises Invalid."""
    if not rows:
        return tuple([] for name in batch.dimensions if name != "date")
    count = len(batch.dimensions)
    if any(len(row.keys) != count for row in rows):
        raise Invalid(f"rows do not have {count} keys", field="keys")
    columns = dict(zip(batch.dimensions, map(list, zip(*(row.keys for row in rows), strict=True)), strict=True))
    days = set(columns.pop("date", ()))
    if days - {batch.date.isoformat()}:
        raise Invalid(f"rows of other days than {batch.date}: {sorted(days)[:3]}", field="keys.date")
    if may_be_unstorable:
        return tuple([storable(text) for text in column] for column in columns.values())
    return tuple(columns.values())
