"""The body of a response, decoded into columns, unless it has the rows of the base. Pure.

A page has up to 25,000 rows, so the fetcher spends most of its CPU time here, in a worker thread.
"""

import json
import re
import zlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime
from hashlib import sha256

import msgspec
from isal import isal_zlib

from fetcher.chunks import FetchedPage, UnchangedPage
from pipeline.contracts.identity import base_digest
from pipeline.contracts.messages import Batch
from pipeline.contracts.reports import TYPES_WITHOUT_POSITION
from pipeline.contracts.text import storable
from pipeline.errors import Invalid, Retryable

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for a body that is not JSON, is not UTF-8, or is nested too deeply."""
_GZIP = 16 + zlib.MAX_WBITS
_GZIP_ERROR: type[Exception] = isal_zlib.error  # type: ignore[assignment]
_GZIP_MAGIC = b"\x1f\x8b"
_DIGEST_VERSION = b"1"
"""Part of each digest. Another version makes every page a changed one, once."""
MAX_COMPRESSION = 1032
"""Deflate makes nothing smaller than by this factor."""
_NUL_ESCAPE = rb"\u0000"
_NUL = re.compile(re.escape(_NUL_ESCAPE))
_LONE_SURROGATE = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F][0-9a-fA-F]{2})"
)


class _Row(msgspec.Struct, gc=False):
    # Tuples, since the garbage collector stops tracking a tuple of texts, but scans a list again each time.
    clicks: float
    impressions: float
    ctr: float
    keys: tuple[str, ...] = ()
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


class _Outline(msgspec.Struct):
    """A response whose rows are not decoded."""

    rows: list[msgspec.Raw] = []
    metadata: _Metadata | None = None


class _Response(msgspec.Struct):
    rows: list[_Row] = []
    metadata: _Metadata | None = None


class _Site(msgspec.Struct):
    site_url: str = msgspec.field(name="siteUrl")
    permission_level: str = msgspec.field(name="permissionLevel", default="")


class _Sites(msgspec.Struct):
    entries: list[_Site] = msgspec.field(default_factory=list, name="siteEntry")


_decoder = msgspec.json.Decoder(_Response)
_outline_decoder = msgspec.json.Decoder(_Outline)


def decoded_size(body: bytes) -> int:
    """Return the size of a gzipped body after decompression, by its last four bytes: see RFC 1952."""
    return min(int.from_bytes(body[-4:], "little"), MAX_COMPRESSION * len(body))


def gunzip(body: bytes) -> bytes:
    """Return the decompressed body. Raises Retryable when it is not gzip, damaged or truncated."""
    if not body.startswith(_GZIP_MAGIC):
        raise Retryable("the response body is not gzip")
    inflater = isal_zlib.decompressobj(_GZIP)
    try:
        data: bytes = inflater.decompress(body)
    except _GZIP_ERROR as error:
        raise Retryable(f"the gzipped response body is damaged: {error}") from error
    if not inflater.eof:
        raise Retryable("the gzipped response body is truncated")
    return data


def read_page(batch: Batch, data: bytes) -> FetchedPage | UnchangedPage:
    """Return the page in a JSON body; its rows are not decoded when they are those of the batch's base.

    Raises like `decode_page`.
    """
    try:
        outline = _outline(data)
    except UNDECODABLE:
        return decode_page(batch, data)  # raises the error, or repairs the text
    digest = digest_of(map(bytes, outline.rows))
    if digest == base_digest(batch):
        return UnchangedPage(len(outline.rows), digest, _first_incomplete(outline))
    return replace(decode_page(batch, data), digest=digest)


def _outline(data: bytes) -> _Outline:
    """Return a response with its rows as JSON. Raises UNDECODABLE."""
    try:
        return _outline_decoder.decode(data)
    except UNDECODABLE:  # msgspec refuses lone surrogates, even where it does not decode the text
        return _outline_decoder.decode(_LONE_SURROGATE.sub(_storable_surrogate, data))


def digest_of(rows: Iterable[bytes]) -> str:
    """Return 32 hex digits that two pages share only if they have the same rows, as JSON, in whatever order."""
    return sha256(_DIGEST_VERSION + b"".join(sorted(rows))).hexdigest()[:32]


def decode_page(batch: Batch, data: bytes) -> FetchedPage:
    """Return the page in a JSON body.

    Raises Retryable when the body does not decode, as a truncated one, and Invalid when its rows do not belong to the
    batch.
    """
    response = _decode(data)
    rows = response.rows
    return FetchedPage(
        keys=_key_columns(batch, [row.keys for row in rows]),
        clicks=[row.clicks for row in rows],
        impressions=[row.impressions for row in rows],
        ctr=[row.ctr for row in rows],
        position=None if batch.search_type in TYPES_WITHOUT_POSITION else [row.position for row in rows],
        first_incomplete_date=_first_incomplete(response),
    )


def _first_incomplete(response: _Response | _Outline) -> date | None:
    return response.metadata.first_incomplete if response.metadata else None


def decode_totals(data: bytes) -> dict[date, tuple[float, float]]:
    """Return (clicks, impressions) by date, from rows whose only dimension is the date. Raises Retryable."""
    response = _decode(data)
    try:
        return {date.fromisoformat(row.keys[0]): (row.clicks, row.impressions) for row in response.rows}
    except (IndexError, ValueError) as error:
        raise Retryable(f"the response has rows without a date: {error}") from error


def decode_sites(data: bytes) -> dict[str, str]:
    """Return the permission levels of a list of properties by URL. Raises Invalid."""
    try:
        return {entry.site_url: entry.permission_level for entry in msgspec.json.decode(data, type=_Sites).entries}
    except UNDECODABLE as error:
        raise Invalid(f"the response is not a list of properties: {error}") from error


def _decode(data: bytes) -> _Response:
    """Return the response, whose texts PostgreSQL can store. Raises Retryable.

    A NUL and a lone surrogate are legal escapes in JSON, but PostgreSQL stores neither, and msgspec refuses the latter.
    """
    storable_data = _NUL.sub(_storable_nul, data) if _NUL_ESCAPE in data else data
    try:
        return _decoder.decode(storable_data)
    except msgspec.ValidationError as error:
        raise Retryable(f"the response has an unexpected shape: {error}") from error
    except UNDECODABLE:
        return _decode_surrogates(data, storable_data)


def _decode_surrogates(data: bytes, storable_data: bytes) -> _Response:
    """Return a response that msgspec refuses, if lone surrogates are the reason. Raises Retryable."""
    try:
        return _decoder.decode(_LONE_SURROGATE.sub(_storable_surrogate, storable_data))
    except UNDECODABLE as error:
        # The standard library accepts lone surrogates wherever they are, at three times the cost.
        try:
            response = msgspec.convert(json.loads(data), _Response)
        except (ValueError, RecursionError):
            raise Retryable(f"the response is not JSON: {error}") from error
    for row in response.rows:
        row.keys = tuple(map(storable, row.keys))
    return response


def _storable_nul(match: re.Match[bytes]) -> bytes:
    return match[0] if _is_escaped(match) else rb"\\x00"


def _storable_surrogate(match: re.Match[bytes]) -> bytes:
    return match[0] if _is_escaped(match) else b"\\" + match[0].lower()


def _is_escaped(match: re.Match[bytes]) -> bool:
    """Whether the backslash that the match begins with belongs to an escaped backslash before it."""
    start = before = match.start()
    while match.string[before - 1 : before] == b"\\":
        before -= 1
    return bool((start - before) % 2)


def _key_columns(batch: Batch, keys: list[tuple[str, ...]]) -> tuple[list[str], ...]:
    """Return one list for each dimension except `date`. Raises Invalid."""
    if not keys:
        return tuple([] for name in batch.dimensions if name != "date")
    count = len(batch.dimensions)
    if set(map(len, keys)) != {count}:
        raise Invalid(f"rows do not have {count} keys", field="keys")
    columns = dict(zip(batch.dimensions, map(list, zip(*keys, strict=True)), strict=True))
    days = set(columns.pop("date", ()))
    if days - {batch.date.isoformat()}:
        raise Invalid(f"rows of other days than {batch.date}: {sorted(days)[:3]}", field="keys.date")
    return tuple(columns.values())
