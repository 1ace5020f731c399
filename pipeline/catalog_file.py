"""The catalog file: YAML into a `Catalog`, every error with its line and field."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from yaml.constructor import ConstructorError

from pipeline.catalog import Catalog, CatalogError


class _Loader(yaml.SafeLoader):
    """Refuses what YAML would let pass, and tells the line of what Python cannot read, such as a 30th of February."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if isinstance(node, yaml.MappingNode):  # else the tag is a lie, and the base class says so
            _check_keys(node)
        made: dict[Any, Any] = super().construct_mapping(node, deep)
        return made

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=True)  # now, while it is known where
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            shown = repr(node.value) if isinstance(node, yaml.ScalarNode) else node.tag
            raise ConstructorError(None, None, f"{shown[:100]}: {error}", node.start_mark) from error


def _check_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                raise ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
            seen.add(key.value)


def read_catalog(path: Path) -> Catalog:
    """Read and check a catalog; credential files become absolute paths. Raises CatalogError."""
    root, data = _parsed(path)
    if data is None:
        raise CatalogError(f"{path}: empty")
    try:
        catalog = Catalog.model_validate(data)
    except ValidationError as error:
        raise CatalogError(*(_told(path, root, problem) for problem in error.errors())) from error
    if problems := [f"{path}:{_line(root, loc)}: {_dotted(loc)}: {text}" for loc, text in _dangling(catalog)]:
        raise CatalogError(*problems)
    credentials = tuple(
        credential.found_at(path, _line(root, ("credentials", number, "file")))
        for number, credential in enumerate(catalog.credentials)
    )
    return Catalog.model_construct(**{**dict(catalog), "credentials": credentials})


def _parsed(path: Path) -> tuple[yaml.Node | None, Any]:
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        root = loader.get_single_node()
        return root, None if root is None else loader.construct_document(root)
    except OSError as error:
        raise CatalogError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CatalogError(f"{path}: not UTF-8 at byte {error.start}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise CatalogError(f"{path}{line}: {', '.join(filter(None, (error.context, error.problem)))}") from error
    except yaml.YAMLError as error:
        raise CatalogError(f"{path}: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise CatalogError(f"{path}: nested too deeply") from error


_IN_WORDS = {"model_type": "must be a mapping of fields", "tuple_type": "must be a list"}
"""What pydantic says in Python's terms."""


def _told(path: Path, root: yaml.Node | None, problem: Any) -> str:
    loc = problem["loc"]
    message = _IN_WORDS.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
    value = problem["input"]
    shown = f", got {value!r}" if isinstance(value, str | int | float | bool | None) else ""
    return f"{path}:{_line(root, loc)}: {_dotted(loc)}: {message}{shown}"


def _dotted(loc: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in loc) or "catalog"


def _line(root: yaml.Node | None, loc: tuple[str | int, ...]) -> int:
    """The line, from 1, of the deepest node on the path that exists."""
    node = root
    line = 1
    for part in loc:
        node = _child(node, part)
        if node is None:
            break
        line = node.start_mark.line + 1
    return line


def _child(node: yaml.Node | None, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        child: yaml.Node = node.value[part]
        return child
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == part), None)
    return None


def _dangling(catalog: Catalog) -> list[tuple[tuple[str | int, ...], str]]:
    """References to nothing, and names given twice, each with its place."""
    problems: list[tuple[tuple[str | int, ...], str]] = []
    for kind, names in (
        ("credentials", [credential.id for credential in catalog.credentials]),
        ("properties", [item.url for item in catalog.properties]),
        ("reports", [report.name for report in catalog.reports]),
    ):
        problems += [((kind, i), f"{name!r} is given twice") for i, name in enumerate(names) if name in names[:i]]
    for i, item in enumerate(catalog.properties):
        if item.credential not in catalog.credential_by_id:
            problems.append((("properties", i, "credential"), f"unknown credential {item.credential!r}"))
        for j, name in enumerate(item.reports or ()):
            if name not in catalog.report_by_name:
                problems.append((("properties", i, "reports", j), f"unknown report {name!r}"))
    return problems
