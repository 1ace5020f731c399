"""Errors of validation in plain words: what a value must be, instead of how pydantic calls its type. Pure."""

from collections.abc import Iterable

from pydantic_core import ErrorDetails

from pipeline.contracts.text import did_you_mean

_WORDS = {
    "missing": "missing",
    "model_type": "must be a mapping of fields",
    "dict_type": "must be a mapping of fields",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "string_type": "must be text",
    "path_type": "must be a path",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
}
"""Texts by the type of pydantic's error. Other messages of pydantic say what the input should be."""


def plain_text(details: ErrorDetails, known_fields: Iterable[str] = ()) -> str:
    """Return what is wrong with a value, without the value. `known_fields` are for an error about an unknown one."""
    kind = details["type"]
    if kind == "extra_forbidden":
        known = sorted(known_fields)
        return "unknown field" + (did_you_mean(str(details["loc"][-1]), known) or f"; known: {', '.join(known)}")
    if kind in _WORDS:
        return _WORDS[kind]
    return details["msg"].removeprefix("Value error, ").replace("Input should be ", "must be ", 1)
