"""Messages to bytes and back. Every unreadable message raises `Invalid` with a reason, never another exception.

`python -m pipeline.contracts.codec FOLDER` writes the JSON Schema of each message.
"""

import inspect
import json
import re
import sys
from collections.abc import Hashable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from pipeline.contracts.messages import AnyMessage, Batch, Control, Message, PageOutcome, Result, Rows, SyncRequest
from pipeline.errors import Invalid

M = TypeVar("M")

KNOWN_VERSIONS = (1,)
TYPES: Mapping[str, type[Message]] = {
    "sync": SyncRequest,
    "batch": Batch,
    "rows": Rows,
    "outcome": PageOutcome,
    "control": Control,
}
"""Every message by its tag, the field `type`."""
_encoder = msgspec.json.Encoder()
_UNKNOWN_FIELD = re.compile("unknown field `(.*)`")  # msgspec gives it no path
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The wrong shape (msgspec's ValidationError is a DecodeError); not UTF-8; nested without end."""


class _Head(msgspec.Struct):
    """What can be read of a message that does not decode."""

    version: Any = msgspec.field(default=None, name="v")
    kind: Any = msgspec.field(default=None, name="type")


def encode(message: AnyMessage) -> bytes:
    """Return a message as UTF-8 JSON. Its text must not contain lone surrogates: see `pipeline.contracts.text`."""
    return _encoder.encode(message)


@cache
def _decoder(expected: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(expected)


def decode(expected: type[M], data: bytes | None) -> M:
    """Return a message of the expected type, a message class or a union of them.

    Raises Invalid with the reason: no value, not JSON, another type, an unknown version, or an invalid field.
    """
    if not data:
        raise Invalid("the message has no value")
    try:
        message: M = _decoder(cast("Hashable", expected)).decode(data)
    except _DECODE_ERRORS as error:
        raise Invalid(_reason(data, error)) from error
    return message


def decode_result(data: bytes | None) -> Result:
    """Return a message of `gsc.results`. Raises Invalid as `decode` does."""
    return decode(cast("type[Result]", Result), data)


def _reason(data: bytes, error: Exception) -> str:
    try:
        head = msgspec.json.decode(data, type=_Head)
    except _DECODE_ERRORS:
        return f"not a JSON object: {error}"
    if head.version is None:
        head.version = 1  # the default, as in the messages
    if head.version not in KNOWN_VERSIONS:
        return f"unknown version {head.version!r} of {head.kind!r}; this release reads {list(KNOWN_VERSIONS)}"
    return str(error)


def parse_fields(type_: type[M], fields: Mapping[str, Any] | bytes) -> M:
    """Return a struct from JSON or from a mapping that a user gave. Raises Invalid with the name of the field."""
    try:
        return msgspec.json.decode(fields, type=type_) if isinstance(fields, bytes) else msgspec.convert(fields, type_)
    except _DECODE_ERRORS as error:
        text, _, path = str(error).partition(" - at `$.")
        unknown = _UNKNOWN_FIELD.search(text)
        raise Invalid(text, field=path.rstrip("`") or (unknown[1] if unknown else "body")) from error


def schema(expected: type[Message]) -> dict[str, Any]:
    """Return the JSON Schema of a message, for other languages."""
    document = msgspec.json.schema(expected)
    for definition in document["$defs"].values():
        # Python up to 3.12 keeps the indentation of docstrings; later versions remove it.
        definition["description"] = inspect.cleandoc(definition["description"])
    return document


def write_schemas(folder: Path) -> None:
    """Write the JSON Schema of every message as `TAG.json`."""
    for tag, type_ in TYPES.items():
        (folder / f"{tag}.json").write_text(json.dumps(schema(type_), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
