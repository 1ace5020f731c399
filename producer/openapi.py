"""The OpenAPI 3.1 document of the HTTP API, generated from its operations and their types. Pure."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from inspect import cleandoc
from typing import Any

import msgspec

from pipeline.contracts.resources import ProblemDetails

OPENAPI = "3.1.0"
_REFERENCE = "#/components/schemas/{name}"
_PROBLEMS = {
    "400": "The request is not valid; `field` names what is wrong.",
    "401": "The bearer token is missing or wrong.",
    "403": "The API is off, because GSC_HTTP_TOKEN is not set.",
    "503": "Kafka or PostgreSQL cannot be reached; the same request may succeed later.",
}
_MORE_PROBLEMS = {
    "404": "There is no such thing.",
    "409": "The `request_id` was used by another request before.",
    "422": "It names what the catalog does not have, or days without data; `errors` lists everything that is wrong.",
}


@dataclass(frozen=True)
class Operation:
    """An operation of the API."""

    method: str
    path: str
    """As aiohttp writes it. A `{name}` is a parameter."""
    name: str
    summary: str
    handler: Callable[[Any], Awaitable[Any]]
    """Takes a request of the HTTP server, and returns its response."""
    answer: type[msgspec.Struct]
    status: int = 200
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    problems: tuple[str, ...] = ()
    """Statuses of problems besides those of every operation."""

    @property
    def documented_path(self) -> str:
        """The path without the patterns of its parameters."""
        return re.sub(r"{(\w+):[^}]+}", r"{\1}", self.path)


def openapi_document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """Return the document, as JSON."""
    types: list[type[msgspec.Struct]] = [ProblemDetails, *(operation.answer for operation in operations)]
    types += [operation.body for operation in operations if operation.body]
    _, schemas = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.documented_path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": OPENAPI,
        "info": {"title": "gsc-stream", "version": version, "license": {"name": "Apache-2.0"}},
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": {name: _without_indentation(schema) for name, schema in schemas.items()},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _without_indentation(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema whose description is that of every Python: 3.13 strips the indentation, earlier ones keep it."""
    return {**schema, "description": cleandoc(schema["description"])} if "description" in schema else schema


def _operation(operation: Operation) -> dict[str, Any]:
    problems = _PROBLEMS | {status: _MORE_PROBLEMS[status] for status in operation.problems}
    document = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [*_path_parameters(operation), *_query_parameters(operation.query)],
        "responses": {
            str(operation.status): {"description": operation.summary, "content": _content(operation.answer)},
            **{status: _problem(text) for status, text in sorted(problems.items())},
        },
    }
    if operation.body:
        document["requestBody"] = {"required": True, "content": _content(operation.body)}
    return document


def _content(type_: type[msgspec.Struct], media_type: str = "application/json") -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": _REFERENCE.format(name=type_.__name__)}}}


def _problem(text: str) -> dict[str, Any]:
    return {"description": text, "content": _content(ProblemDetails, "application/problem+json")}


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    names = re.findall(r"{(\w+)}", operation.documented_path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query_parameters(query: type[msgspec.Struct] | None) -> list[dict[str, Any]]:
    if query is None:
        return []
    schema = msgspec.json.schema(query)["$defs"][query.__name__]
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": field}
        for name, field in schema["properties"].items()
    ]
