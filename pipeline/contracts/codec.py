"""Messages to bytes and back. Whatever cannot be read is `Invalid` with a reason, never another exception."""

import inspect
import re
from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any, TypeVar, cast

import msgspec

from pipeline.contracts.messages import AnyMessage, Message, Result
from pipeline.errors import Invalid

M = TypeVar("M")

KNOWN_VERSIONS = (1,)
_encoder = msgspec.json.Encoder()
_UNKNOWN_FIELD = re.compile("unknown field `(.*)`")  # msgspec gives it no path
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Not as expected, which a ValidationError of msgspec's is, too; not UTF-8; nested without end."""


class _Head(msgspec.Struct):
    """What can be told of a message that does not decode."""

    version: Any = msgspec.field(default=None, name="v")
    kind: Any = msgspec.field(default=None, name="type")


def encode(message: AnyMessage) -> bytes:
    """One message as UTF-8 JSON. Text must not hold lone surrogates (see `pipeline.contracts.text`)."""
    return _encoder.encode(message)


@cache
def _decoder(expected: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(expected)


def decode(expected: type[M], data: bytes | None) -> M:
    """Read one message of the expected type (a message class or a union of them).

    Raises Invalid with the reason: no value, not JSON, another type, an unknown version, or a field of the wrong type.
    """
    if not data:
        raise Invalid("the message has no value")
    try:
        message: M = _decoder(cast("Hashable", expected)).decode(data)
    except _UNREADABLE as error:
        raise Invalid(_reason(data, error)) from error
    return message


def decode_result(data: bytes | None) -> Result:
    """Read a message of `gsc.results`. Raises Invalid like `decode`."""
    return decode(cast("type[Result]", Result), data)


def _reason(data: bytes, error: Exception) -> str:
    try:
        head = msgspec.json.decode(data, type=_Head)
    except _UNREADABLE:
        return f"not a JSON object: {error}"
    if head.version is None:
        head.version = 1  # the default, as in the messages
    if head.version not in KNOWN_VERSIONS:
        return f"unknown version {head.version!r} of {head.kind!r}; this release reads {list(KNOWN_VERSIONS)}"
    return str(error)


def schema(expected: type[Message]) -> dict[str, Any]:
    """The JSON Schema of a message, for other languages."""
    document = msgspec.json.schema(expected)
    for definition in document["$defs"].values():
        # Python 3.13 and those before it indent docstrings differently.
        definition["description"] = inspect.cleandoc(definition["description"])
    return document


def parse_fields(type_: type[M], fields: Mapping[str, Any] | bytes) -> M:
    """What people or programs ask for, from JSON or from fields; raises Invalid with the field's name."""
    try:
        return msgspec.json.decode(fields, type=type_) if isinstance(fields, bytes) else msgspec.convert(fields, type_)
    except _UNREADABLE as error:
        text, _, place = str(error).partition(" - at `$.")
        unknown = _UNKNOWN_FIELD.search(text)
        raise Invalid(text, field=place.rstrip("`") or (unknown[1] if unknown else "body")) from error
