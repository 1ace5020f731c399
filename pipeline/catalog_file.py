"""The catalog file: YAML into a `Catalog`. Every error names file, line and field."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pipeline.catalog import Catalog, CatalogError

Loc = tuple[str | int, ...]
"""The path of a field, such as `("properties", 0, "url")`."""

_PLAIN_MESSAGES = {"model_type": "must be a mapping of fields", "tuple_type": "must be a list"}
"""For pydantic's messages that use Python's terms."""


class _Constructor(RoundTripConstructor):
    """Adds the line to values that YAML accepts and Python does not, such as a 30th of February."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ConstructorError(None, None, f"{str(node.value)[:100]!r}: {error}", node.start_mark) from error


def read_catalog(path: Path) -> Catalog:
    """Read and check a catalog; paths of credential files become absolute. Raises CatalogError."""
    data = _parse(path)
    try:
        catalog = Catalog.model_validate(data)
    except ValidationError as error:
        raise CatalogError(*(_message(path, data, problem) for problem in error.errors())) from error
    if problems := [f"{path}:{_line(data, loc)}: {_dotted(loc)}: {text}" for loc, text in _reference_errors(catalog)]:
        raise CatalogError(*problems)
    credentials = tuple(
        credential.located_at(path, _line(data, ("credentials", number, "file")))
        for number, credential in enumerate(catalog.credentials)
    )
    return Catalog.model_construct(**{**dict(catalog), "credentials": credentials})


def _parse(path: Path) -> Any:
    """Return the data, with the line of every value. Raises CatalogError."""
    yaml = YAML(typ="rt", pure=True)
    yaml.Constructor = _Constructor
    try:
        data = yaml.load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CatalogError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CatalogError(f"{path}: not UTF-8 at byte {error.start}") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        # ruamel.yaml prints both values of a duplicate key.
        problem = (error.problem or "").partition(" with value")[0]
        raise CatalogError(f"{path}{line}: {', '.join(filter(None, (error.context, problem)))}") from error
    except YAMLError as error:
        raise CatalogError(f"{path}: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise CatalogError(f"{path}: nested too deeply") from error
    if data is None:
        raise CatalogError(f"{path}: the file is empty")
    return data


def _message(path: Path, data: Any, problem: Any) -> str:
    loc, value = problem["loc"], problem["input"]
    message = _PLAIN_MESSAGES.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
    shown = f", got {value!r}" if isinstance(value, str | int | float | bool | None) else ""
    return f"{path}:{_line(data, loc)}: {_dotted(loc)}: {message}{shown}"


def _dotted(loc: Loc) -> str:
    return ".".join(map(str, loc)) or "catalog"


def _line(data: Any, loc: Loc) -> int:
    """Return the line, from 1, of the deepest value on the path that exists."""
    node, line = data, 1
    for part in loc:
        try:
            line = (node.lc.item(part) if isinstance(part, int) else node.lc.value(part))[0] + 1
            node = node[part]
        except (AttributeError, LookupError, TypeError):  # a missing field, or the value is not a collection
            break
    return line


def _reference_errors(catalog: Catalog) -> list[tuple[Loc, str]]:
    """Return references to unknown names, and duplicate names, each with its path."""
    problems: list[tuple[Loc, str]] = []
    for kind, names in (
        ("credentials", [credential.id for credential in catalog.credentials]),
        ("properties", [item.url for item in catalog.properties]),
        ("reports", [report.name for report in catalog.reports]),
    ):
        problems += [((kind, i), f"{name!r} appears twice") for i, name in enumerate(names) if name in names[:i]]
    for i, item in enumerate(catalog.properties):
        if item.credential not in catalog.credential_by_id:
            problems.append((("properties", i, "credential"), f"unknown credential {item.credential!r}"))
        for j, name in enumerate(item.reports or ()):
            if name not in catalog.report_by_name:
                problems.append((("properties", i, "reports", j), f"unknown report {name!r}"))
    return problems
