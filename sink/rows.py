"""Rows as PostgreSQL's COPY text, each with the 16-byte key of its dimensions. Pure, and the sink's hottest code."""

import re
from collections.abc import Iterator
from hashlib import blake2b
from math import isfinite
from uuid import UUID

from pipeline.contracts.messages import Rows
from pipeline.contracts.reports import value_dimensions
from pipeline.contracts.text import storable
from pipeline.errors import Invalid

COLUMNS = ("query", "page", "country", "device", "searchAppearance", "hour")
"""Dimensions in the order of the table's columns."""

_ESCAPED = re.compile(r"[\\\n\r\t]")
_ESCAPES = {"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"}
_LONGEST = 64 * 1024 * 1024  # bytes of a line; far below PostgreSQL's gigabyte for a field


def check(message: Rows) -> None:
    """Raise Invalid when the message cannot be what a fetcher sends."""
    dimensions = value_dimensions(message.batch.dimensions)
    if unknown := set(dimensions) - set(COLUMNS):
        raise Invalid(f"unknown {sorted(unknown)}", field="batch.dimensions")
    if len(message.keys) != len(dimensions):
        raise Invalid(f"{len(message.keys)} columns for {len(dimensions)} dimensions", field="keys")
    if message.chunk >= message.chunks:
        raise Invalid(f"chunk {message.chunk} of {message.chunks}", field="chunk")
    lengths = {len(column) for column in _columns(message)}
    if len(lengths) != 1:
        raise Invalid(f"columns of different lengths {sorted(lengths)}", field="keys")
    for name in ("clicks", "impressions", "ctr"):
        values = getattr(message, name)
        if not all(map(isfinite, values)) or min(values, default=0.0) < 0:
            raise Invalid("not a finite number from 0", field=name)


def _columns(message: Rows) -> list[list[object]]:
    columns: list[list[object]] = [*message.keys, message.clicks, message.impressions, message.ctr]  # type: ignore[list-item]
    return columns if message.position is None else [*columns, list(message.position)]


def keys(message: Rows) -> list[bytes]:
    """The key of every row: a hash over the values of its dimensions, each with its length."""
    rows = zip(*message.keys, strict=True) if message.keys else [()] * len(message.clicks)
    return [_key(values) for values in rows]


def _key(values: tuple[str, ...]) -> bytes:
    # The length in front of each value: no two rows can spell the same text.
    text = "".join([f"{len(value)}:{value}" for value in values])
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def copy_text(message: Rows, series: int) -> Iterator[tuple[bytes, str]]:
    r"""(key, line) of every row, in the order of the columns of the staging table; `\N` where there is no value."""
    dimensions = value_dimensions(message.batch.dimensions)
    by_name = {name: _escaped(column) for name, column in zip(dimensions, message.keys, strict=True)}
    nothing = [r"\N"] * len(message.clicks)
    position = nothing if message.position is None else [r"\N" if p is None else repr(p) for p in message.position]
    text = zip(*(by_name.get(name, nothing) for name in COLUMNS), strict=True)
    head = f"{series}\t{message.batch.date.isoformat()}\t"
    generation = message.batch.generation
    numbers = zip(message.clicks, message.impressions, message.ctr, position, strict=True)
    for key, (clicks, impressions, ctr, rank), values in zip(keys(message), numbers, text, strict=True):
        yield (
            key,
            f"{head}{UUID(bytes=key)}\t{generation}\t{clicks!r}\t{impressions!r}\t{ctr!r}\t{rank}\t"
            + "\t".join(values),
        )


def _escaped(column: list[str]) -> list[str]:
    whole = "\x1f".join(column)
    if not _ESCAPED.search(whole) and "\x00" not in whole:
        return column
    return [_ESCAPED.sub(lambda found: _ESCAPES[found[0]], storable(value)) for value in column]
