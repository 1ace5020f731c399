"""Encoding and decoding of messages. Input that cannot be decoded raises `Invalid` and no other exception."""

import inspect
import re
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar, cast

import msgspec

from pipeline.contracts.messages import AnyMessage, Message, Result
from pipeline.contracts.text import did_you_mean
from pipeline.errors import Invalid

M = TypeVar("M")

KNOWN_VERSIONS = (1,)
_encoder = msgspec.json.Encoder()
_NAMED_FIELD = re.compile("(unknown|missing required) field `(.*)`")  # msgspec gives no path for these errors
_WORDS = [
    (re.compile(pattern), words)
    for pattern, words in (
        ("Invalid RFC3339 encoded date$", "must be a date, YYYY-MM-DD"),
        ("Invalid RFC3339 encoded datetime", "must be a time, such as 2026-01-31T12:00:00Z"),
        ("JSON is malformed", "not JSON"),
        ("Expected `", "must be `"),
        ("`int` >= ", "a whole number of at least "),
        ("`int` <= ", "a whole number of at most "),
        (r"`str` matching regex .*", "text without NUL"),
        ("`str` of length >= 1", "text that is not empty"),
        ("`str` of length <= (\\d+)", "text of at most \\1 characters"),
        ("`int`", "a whole number"),
        ("`float`", "a number"),
        ("`str`", "text"),
        ("`bool`", "true or false"),
        ("`array`", "a list"),
        ("`object`", "an object"),
    )
]
"""What msgspec's errors say, in words that do not name its types."""
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
    with _named_field(type_):
        return msgspec.json.decode(fields, type=type_) if isinstance(fields, bytes) else msgspec.convert(fields, type_)


@contextmanager
def _named_field(type_: type[Any]) -> Iterator[None]:
    """Raise Invalid, with the name of the field, for an error of a block that makes a struct."""
    try:
        yield
    except _DECODING_ERRORS as error:
        text, _, path = str(error).partition(" - at `$.")
        named = _NAMED_FIELD.search(text)
        field = path.rstrip("`") or (named[2] if named else "body")
        known = [item.name for item in msgspec.structs.fields(type_)]
        raise Invalid(_plain_text(text, field, known), field=field) from error


def parse_texts(type_: type[M], fields: Mapping[str, str]) -> M:
    """Return a struct from texts, such as those of a query. Raises Invalid like `parse_fields`."""
    with _named_field(type_):
        return msgspec.convert(dict(fields), type_, strict=False)


def _plain_text(text: str, field: str, known: list[str]) -> str:
    """Return an error of msgspec in plain words: `Expected `int` >= 1` is about a whole number."""
    if text.startswith("Object missing"):
        return "missing"
    if text.startswith("Object contains unknown"):
        return "unknown field" + (did_you_mean(field, known) or f"; known: {', '.join(known)}")
    for pattern, words in _WORDS:
        text = pattern.sub(words, text)
    return text
