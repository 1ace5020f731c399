"""Google's own description of the API, as its Python client ships it, as JSON Schemas."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from googleapiclient.discovery_cache import get_static_doc
from jsonschema import Draft202012Validator

_WORD_BORDER = re.compile(r"_(.)")


@cache
def document() -> dict[str, Any]:
    """Return the document."""
    found: dict[str, Any] = json.loads(get_static_doc("searchconsole", "v1"))
    return found


def problems(schema: str, value: object) -> list[str]:
    """Return what is wrong with a request or an answer: wrong types, unknown fields, unknown values."""
    root = {"$ref": f"#/$defs/{schema}", "$defs": {name: _strict(item) for name, item in document()["schemas"].items()}}
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(root).iter_errors(value)]


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the HTTP method, the pattern of the path and the description of every operation."""
    yield from _operations(document()["resources"])


def _operations(resources: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for resource in resources.values():
        for method in resource.get("methods", {}).values():
            yield method["httpMethod"], "/" + re.sub(r"\{\w+\}", "[^/]+", method["path"]), method
        yield from _operations(resource.get("resources", {}))


def operation(method: str, path: str) -> dict[str, Any] | None:
    """Return the description of the operation that a call is, or None."""
    return next((item for verb, pattern, item in operations() if verb == method and re.fullmatch(pattern, path)), None)


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema in JSON Schema's form, in which only the named fields exist."""
    fields = {name: _field(field) for name, field in schema.get("properties", {}).items()}
    return {"type": "object", "properties": fields, "additionalProperties": False}


def _field(field: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in field:
        return {"$ref": f"#/$defs/{field['$ref']}"}
    result: dict[str, Any] = {"type": field["type"]} if "type" in field else {}
    if "enum" in field:
        result["enum"] = [spelling for value in field["enum"] for spelling in _spellings(value)]
    if "items" in field:
        result["items"] = _field(field["items"])
    return result


def _spellings(value: str) -> set[str]:
    """Return the spellings of a value: the document's, and those of Google's reference, `byPage` and `hourly_all`."""
    lower = value.lower()
    return {value, lower, _WORD_BORDER.sub(lambda match: match[1].upper(), lower)}
