"""Rows as text for COPY, each with the key of its dimensions. Pure. The sink spends most of its time here."""

import re
from collections.abc import Iterator, Sequence
from datetime import date
from hashlib import blake2b
from math import isfinite
from typing import NamedTuple

from pipeline.contracts.messages import Batch, Rows
from pipeline.contracts.reports import value_dimensions
from pipeline.contracts.text import storable
from pipeline.errors import Invalid

COLUMNS = ("query", "page", "country", "device", "searchAppearance", "hour")
"""Dimensions in the order of the table's columns."""

SeriesDay = tuple[int, date]
"""The number of a series, and a day."""

_ESCAPED = re.compile(r"[\\\n\r\t]")
_ESCAPES = {"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"}


class PageText(NamedTuple):
    """The rows of a page as text for COPY, sorted by key: PostgreSQL then fills its index from left to right."""

    series: int
    date: date
    generation: int
    number: int
    text: bytes

    @property
    def day(self) -> SeriesDay:
        """The day, of which a caller holds the lock."""
        return self.series, self.date


def check(message: Rows) -> None:
    """Raise Invalid when no fetcher could have sent the message."""
    dimensions = value_dimensions(message.batch.dimensions)
    if unknown := set(dimensions) - set(COLUMNS):
        raise Invalid(f"unknown dimensions {sorted(unknown)}", field="batch.dimensions")
    if len(message.keys) != len(dimensions):
        raise Invalid(f"{len(message.keys)} columns for {len(dimensions)} dimensions", field="keys")
    if message.chunk >= message.chunks:
        raise Invalid(f"chunk {message.chunk} of {message.chunks}", field="chunk")
    lengths = {len(column) for column in _columns(message)}
    if len(lengths) != 1:
        raise Invalid(f"columns have different lengths: {sorted(lengths)}", field="keys")
    for name in ("clicks", "impressions", "ctr"):
        values = getattr(message, name)
        if not all(map(isfinite, values)) or min(values, default=0.0) < 0:
            raise Invalid("must be finite and not negative", field=name)


def _columns(message: Rows) -> list[list[object]]:
    columns: list[list[object]] = [*message.keys, message.clicks, message.impressions, message.ctr]  # type: ignore[list-item]
    return columns if message.position is None else [*columns, list(message.position)]


def keys(message: Rows) -> list[str]:
    """Return the key of every row in hex: a hash of the values of its dimensions, each prefixed by its length."""
    if not message.keys:
        return [_hash("")] * len(message.clicks)
    # Prefixed by its length, so that two different rows never hash the same text.
    prefixed = [[f"{len(value)}:{value}" for value in column] for column in message.keys]
    return [_hash(text) for text in map("".join, zip(*prefixed, strict=True))]


def _hash(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def page_number(batch: Batch) -> int:
    """Return which page of its day a batch requests: 0 for the first."""
    return batch.start_row // batch.row_limit


def copy_text(message: Rows, series: int) -> Iterator[tuple[str, str]]:
    r"""Yield (key, line) of every row, with the columns of the staging table; `\N` is null."""
    dimensions = value_dimensions(message.batch.dimensions)
    by_name = {name: _escaped(column) for name, column in zip(dimensions, message.keys, strict=True)}
    nulls = [r"\N"] * len(message.clicks)
    text = map("\t".join, zip(*(by_name.get(name, nulls) for name in COLUMNS), strict=True))
    position = nulls if message.position is None else [r"\N" if p is None else repr(p) for p in message.position]
    head = f"{series}\t{message.batch.date.isoformat()}\t"
    generation = f"\t{message.batch.generation}\t"
    number = page_number(message.batch)
    columns = (keys(message), message.clicks, message.impressions, message.ctr, position, text)
    for key, clicks, impressions, ctr, rank, values in zip(*columns, strict=True):
        yield key, f"{head}{key}{generation}{clicks!r}\t{impressions!r}\t{ctr!r}\t{rank}\t{number}\t{values}\n"


def page_text(chunks: Sequence[Rows], series: int) -> PageText:
    """Return the text of a page. Of a key that occurs several times, the first row counts."""
    lines: dict[str, str] = {}
    for chunk in chunks:
        for key, line in copy_text(chunk, series):
            lines.setdefault(key, line)
    batch = chunks[0].batch
    text = "".join([lines[key] for key in sorted(lines)]).encode("utf-8", "backslashreplace")
    return PageText(series, batch.date, batch.generation, page_number(batch), text)


def _escaped(column: list[str]) -> list[str]:
    joined = "\x1f".join(column)
    if not _ESCAPED.search(joined) and "\x00" not in joined:
        return column
    return [_ESCAPED.sub(lambda match: _ESCAPES[match[0]], storable(value)) for value in column]
