"""Rows as text for COPY, each with the key of its dimensions. Pure. The sink spends most of its time here."""

import re
from collections.abc import Sequence
from datetime import date
from hashlib import blake2b
from itertools import repeat
from math import isfinite
from typing import NamedTuple

import msgspec

from pipeline.contracts.identity import page_number
from pipeline.contracts.messages import Rows
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


def page_text(chunks: Sequence[Rows], series: int) -> PageText:
    r"""Return the text of a page, with the columns of the statement `copy`; `\N` is null.

    Of a key that occurs several times, the first row counts.
    """
    batch = chunks[0].batch
    lines = dict(line for chunk in reversed(chunks) for line in reversed(_lines(chunk)))
    head = f"{series}\t{batch.date.isoformat()}\t"
    text = head + f"\n{head}".join(sorted(lines.values())) + "\n" if lines else ""
    return PageText(series, batch.date, batch.generation, page_number(batch), text.encode("utf-8", "backslashreplace"))


def _lines(chunk: Rows) -> list[tuple[str, str]]:
    """Return the key of each row with its line from the key on, so that lines sort as their keys do."""
    number = str(page_number(chunk.batch))
    dimensions = value_dimensions(chunk.batch.dimensions)
    texts = {name: _escaped(column) for name, column in zip(dimensions, chunk.keys, strict=True)}
    nulls = repeat(r"\N")
    hashes = keys(chunk)
    metrics = map(_numbers, (chunk.clicks, chunk.impressions, chunk.ctr))
    position = nulls if chunk.position is None else _numbers(chunk.position)
    values = (texts.get(name, nulls) for name in COLUMNS)
    cells = zip(hashes, repeat(str(chunk.batch.generation)), *metrics, position, repeat(number), *values)
    return list(zip(hashes, map("\t".join, cells), strict=True))


def _numbers(values: Sequence[float | None]) -> list[str]:
    """Return numbers as text. JSON is written several times faster than `repr` writes."""
    return msgspec.json.encode(values)[1:-1].decode().replace("null", r"\N").split(",") if values else []


def _escaped(column: list[str]) -> list[str]:
    joined = "\x1f".join(column)
    if not _ESCAPED.search(joined) and "\x00" not in joined:
        return column
    return [_ESCAPED.sub(lambda match: _ESCAPES[match[0]], storable(value)) for value in column]
