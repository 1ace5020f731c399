"""Encoding and decoding of messages. Input that cannot be decoded raises `Invalid` and no other exception."""

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
_UNKNOWN_FIELD = re.compile("unknown field `(.*)`")  # msgspec gives no path for this error
_DECODING_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""msgspec raises these for input that is not JSON or not of the type, is not UTF-8, or is nested too deeply."""


class _Head(msgspec.Struct):
    """The fields that identify a message that does not decode."""

    version: Any = msgspec.field(default=None, name="v")
    kind: Any = msgspec.field(default=None, name="type")


def encode(message: AnyMessage) -> bytes:
    """Return a message as UTF-8 JSON. Its text must not have lone surrogates (see `pipeline.contracts.text`)."""
    return _encoder.encode(message)


@cache
def _decoder(expected: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(expected)


def decode(expected: type[M], data: bytes | None) -> M:
    """Return the message of the expected type, a message class or a union of them.

    Raises Invalid, with the reason: no value, not JSON, another type, an unknown version, or a field that is wrong.
    """
    if not data:
        raise Invalid("the message has no value")
    try:
        message: M = _decoder(cast("Hashable", expected)).decode(data)
    except _DECODING_ERRORS as error:
        raise Invalid(_reason(data, error)) from error
    return message


def decode_result(data: bytes | None) -> Result:
    """Return a message of `gsc.results`. Raises Invalid like `decode`."""
    return decode(cast("type[Result]", Result), data)


def _reason(data: bytes, error: Exception) -> str:
    try:
        head = msgspec.json.decode(data, type=_Head)
    except _DECODING_ERRORS:
        return f"not a JSON object: {error}"
    if head.version is None:
        head.version = 1  # the default of the field
    if head.version not in KNOWN_VERSIONS:
        return f"unknown version {head.version!r} of {head.kind!r}; this release reads {list(KNOWN_VERSIONS)}"
    return str(error)


def schema(expected: type[Message]) -> dict[str, Any]:
    """Return the JSON Schema of a message class."""
    document = msgspec.json.schema(expected)
    for definition in document["$defs"].values():
        # Python 3.13 strips the indentation of docstrings, earlier versions keep it.
        definition["description"] = inspect.cleandoc(definition["description"])
    return document


def parse_fields(type_: type[M], fields: Mapping[str, Any] | bytes) -> M:
    """Return a struct from JSON or from fields. Raises Invalid, with the name of the field that is wrong."""
    try:
        return msgspec.json.decode(fields, type=type_) if isinstance(fields, bytes) else msgspec.convert(fields, type_)
    except _DECODING_ERRORS as error:
        text, _, path = str(error).partition(" - at `$.")
        unknown = _UNKNOWN_FIELD.search(text)
        raise Invalid(text, field=path.rstrip("`") or (unknown[1] if unknown else "body")) from error
