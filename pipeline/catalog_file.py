"""The catalog file: YAML 1.2, read into a `Catalog`. Every error names the file, the line and the field."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import ConstructorError, RoundTripConstructor, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import Node, ScalarNode

from pipeline.catalog import Catalog, CatalogError, Credential, Project, Property
from pipeline.catalog_fields import repeated
from pipeline.contracts.text import did_you_mean
from pipeline.report import Report
from pipeline.validation_text import plain_text

Location = tuple[str | int, ...]
"""A path into the file, such as `("properties", 0, "url")`."""

_ENTRIES: dict[str | int, type[BaseModel]] = {
    "credentials": Credential,
    "properties": Property,
    "reports": Report,
    "projects": Project,
}
"""The models of the entries of each list."""


class _Constructor(RoundTripConstructor):
    """Keeps the line of every value. Refuses unknown tags, which the base class would keep for writing them back."""

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        """Add the line to what Python raises for a value that it cannot convert, such as a 30th of February."""
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            kind = str(node.tag).rpartition(":")[2]
            value = f"{node.value[:100]!r} is " if isinstance(node, ScalarNode) else ""
            text = f"{value}not a valid {kind}; put quotes around text that looks like one"
            raise ConstructorError(None, None, text, node.start_mark) from error

    def check_mapping_key(self, node: Node, key_node: Node, mapping: Any, key: Any, value: Any) -> bool:
        """Refuse a repeated key in a few words: the base class quotes both values, which may be most of the file."""
        if key in mapping:
            raise ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
        return super().check_mapping_key(node, key_node, mapping, key, value)


_Constructor.add_constructor(None, SafeConstructor.construct_undefined)
_Constructor.add_constructor("tag:yaml.org,2002:str", RoundTripConstructor.construct_scalar)


def read_catalog(path: Path) -> Catalog:
    """Read and check a catalog. Paths of credential files become absolute, relative to the catalog's folder.

    Raises CatalogError with one line for each problem.
    """
    root = parse_catalog(path)
    if root is None:
        raise CatalogError(f"{path}: the file is empty; list `credentials` and `properties` in it (docs/catalog.md)")
    try:
        catalog = Catalog.model_validate(root)
    except ValidationError as error:
        raise CatalogError(*(_describe(path, root, details) for details in error.errors())) from error
    if problems := [f"{path}:{_line(root, loc)}: {_dotted(loc)}: {text}" for loc, text in _reference_problems(catalog)]:
        raise CatalogError(*problems)
    credentials = tuple(
        credential.located_at(path, _line(root, ("credentials", number, "file")))
        for number, credential in enumerate(catalog.credentials)
    )
    return Catalog.model_construct(**{**dict(catalog), "credentials": credentials})


def parse_catalog(path: Path) -> Any:
    """Return the document, or None if the file has none; mappings and lists know the lines of their items."""
    yaml = YAML()
    yaml.Constructor = _Constructor
    try:
        return yaml.load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CatalogError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CatalogError(f"{path}: the byte at offset {error.start} is not UTF-8; save the file as UTF-8") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise CatalogError(f"{path}{line}: {', '.join(filter(None, (error.context, error.problem)))}") from error
    except YAMLError as error:
        raise CatalogError(f"{path}: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise CatalogError(f"{path}: its lists or mappings are nested too deeply; close each bracket") from error


def _describe(path: Path, root: Any, details: ErrorDetails) -> str:
    loc = details["loc"]
    model = _ENTRIES.get(loc[0], Catalog) if len(loc) > 1 else Catalog
    message = plain_text(details, model.model_fields)
    return f"{path}:{_line(root, loc)}: {_dotted(loc)}: {message}{_got(details['input'])}"


def _got(value: object) -> str:
    """Return the end of an error with the value as YAML writes it; lists and mappings are too long for it."""
    if value is None:
        return ", got nothing"
    if isinstance(value, bool):
        return f", got {str(value).lower()}"
    return f", got {value!r}" if isinstance(value, str | int | float) else ""


def _dotted(loc: Location) -> str:
    return ".".join(str(part) for part in loc) or "catalog"


def _line(root: Any, loc: Location) -> int:
    """Return the line, counted from 1, of the deepest part of a location that the file has."""
    node, line = root, 0
    for part in loc:
        if not isinstance(node, CommentedMap | CommentedSeq) or part not in (node.lc.data or {}):
            break
        line = node.lc.data[part][0]  # followed by the column and, in a mapping, by the place of the value
        node = node[part]
    return line + 1


def _reference_problems(catalog: Catalog) -> list[tuple[Location, str]]:
    """Return each reference to a missing entry and each repeated name, with its location."""
    problems: list[tuple[Location, str]] = []
    for kind, names in (
        ("credentials", [credential.id for credential in catalog.credentials]),
        ("properties", [item.url for item in catalog.properties]),
        ("reports", [report.name for report in catalog.reports]),
    ):
        problems += [((kind, i), f"{name!r} is repeated") for i, name in repeated(names)]
    used = set(catalog.project_by_credential.values())
    problems += [
        (("projects", name), "no credential names this project") for name in catalog.projects if name not in used
    ]
    for i, item in enumerate(catalog.properties):
        if item.credential not in catalog.credential_by_id:
            nearest = did_you_mean(item.credential, catalog.credential_by_id)
            problems.append((("properties", i, "credential"), f"unknown credential {item.credential!r}{nearest}"))
        for j, name in enumerate(item.reports or ()):
            if name not in catalog.report_by_name:
                nearest = did_you_mean(name, catalog.report_by_name)
                problems.append((("properties", i, "reports", j), f"unknown report {name!r}{nearest}"))
    return problems
